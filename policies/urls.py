from django.urls import path

from policies import views
from policies.signin import device

urlpatterns = [
    path("token/", views.TokenView.as_view(), name="token"),
    path("token/refresh/", views.TokenRefreshView.as_view(), name="token-refresh"),
    path("logout/", views.LogoutView.as_view(), name="logout"),
    path("api-tokens/", views.APITokenListView.as_view(), name="api-tokens"),
    path("api-tokens/<int:pk>/", views.APITokenView.as_view(), name="api-token"),
    path("device/", device.DeviceView.as_view(), name="device-authorization"),
    path("device/token/", device.DeviceTokenView.as_view(), name="device-token"),
    path("whoami/", views.WhoAmIView.as_view(), name="whoami"),
]
