from django.urls import path
from rest_framework.routers import Route, SimpleRouter

from policies import views
from policies.signin import device


class TokenRouter(SimpleRouter):
    routes = [
        Route(
            url="{prefix}{trailing_slash}",
            mapping={"get": "list", "post": "create"},
            name="{basename}s",
            detail=False,
            initkwargs={"suffix": "List"},
        ),
        Route(
            url="{prefix}/{lookup}{trailing_slash}",
            mapping={"delete": "destroy"},
            name="{basename}",
            detail=True,
            initkwargs={},
        ),
    ]


router = TokenRouter(use_regex_path=False)
router.register("api-tokens", views.APITokenViewSet, basename="api-token")
urlpatterns = [
    path("token/", views.TokenView.as_view(), name="token"),
    path("token/refresh/", views.TokenRefreshView.as_view(), name="token-refresh"),
    path("logout/", views.LogoutView.as_view(), name="logout"),
    *router.urls,
    path("device/", device.DeviceView.as_view(), name="device-authorization"),
    path("device/token/", device.DeviceTokenView.as_view(), name="device-token"),
    path("whoami/", views.WhoAmIView.as_view(), name="whoami"),
]
