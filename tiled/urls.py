from django.urls import path

from tiled import sign_in, views

urlpatterns = [
    path("metadata/", views.MetadataView.as_view(), name="tiled-root"),
    path("metadata/<path:node>", views.MetadataView.as_view(), name="tiled-metadata"),
    path("search/", views.SearchView.as_view(), name="tiled-search-root"),
    path("search/<path:node>", views.SearchView.as_view(), name="tiled-search"),
    path("distinct/", views.DistinctView.as_view(), name="tiled-distinct-root"),
    path("distinct/<path:node>", views.DistinctView.as_view(), name="tiled-distinct"),
    path("array/full/<path:node>", views.NodeArrayView.as_view(), name="tiled-array"),
    path("array/block/<path:node>", views.BlockView.as_view(), name="tiled-block"),
    path("container/full/<path:node>", views.ContainerView.as_view(), name="tiled-container"),
    path("table/full/<path:node>", views.NodeTableView.as_view(), name="tiled-table"),
    path("table/partition/<path:node>", views.NodeTableView.as_view(), name="tiled-partition"),
    path("auth/provider/password/token", sign_in.SignInView.as_view(), name="tiled-sign-in"),
    path(
        "auth/provider/browser/authorize",
        sign_in.BrowserProviderView.as_view(),
        name="tiled-device",
    ),
    path("auth/provider/browser/token", sign_in.DeviceCodeView.as_view(), name="tiled-device-code"),
    path("auth/session/refresh", sign_in.RefreshView.as_view(), name="tiled-refresh"),
    path("auth/session/revoke", sign_in.RevokeView.as_view(), name="tiled-revoke"),
    path("auth/logout", sign_in.ClientLogoutView.as_view(), name="tiled-logout"),
    path("auth/whoami", sign_in.ClientWhoAmIView.as_view(), name="tiled-whoami"),
    path("auth/apikey", sign_in.KeysView.as_view(), name="tiled-keys"),
]
