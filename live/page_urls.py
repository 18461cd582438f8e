from django.urls import path

from live import newest

urlpatterns = [
    path("beamlines/<str:beamline>/live/", newest.NewestRunPage.as_view(), name="newest-run"),
]
