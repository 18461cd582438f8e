from django.urls import path

from policies import views
from policies.signin import device

tokens = views.APITokenViewSet.as_view({"get": "list", "post": "create"}, suffix="List")
token = views.APITokenViewSet.as_view({"delete": "destroy"})
urlpatterns = [
    path("token/", views.TokenView.as_view(), name="token"),
    path("token/refresh/", views.TokenRefreshView.as_view(), name="token-refresh"),
    path("logout/", views.LogoutView.as_view(), name="logout"),
    path("api-tokens/", tokens, name="api-tokens"),
    path("api-tokens/<int:pk>/", token, name="api-token"),
    path("device/", device.DeviceView.as_view(), name="device-authorization"),
    path("device/token/", device.DeviceTokenView.as_view(), name="device-token"),
    path("whoami/", views.WhoAmIView.as_view(), name="whoami"),
]
