from django.urls import path

from headers import pages

urlpatterns = [
    path("runs/", pages.RunListPage.as_view(), name="runs"),
    path("runs/facets/", pages.RunFacetsPage.as_view(), name="run-facets"),
    path("runs/<str:key>/", pages.RunDetailPage.as_view(), name="run"),
]
