from django.urls import path

from headers import compare_page, list_page, pages, scan_page

urlpatterns = [
    path("runs/", list_page.RunListPage.as_view(), name="runs"),
    path("runs/facets/", list_page.RunFacetsPage.as_view(), name="run-facets"),
    path("runs/<str:catalog>/<int:scan_id>/", scan_page.ScanPage.as_view(), name="scan"),
    path("compare/", compare_page.ComparePage.as_view(), name="compare"),
    path("runs/<str:key>/preview/", list_page.RunPreviewPage.as_view(), name="run-preview"),
    path("runs/<str:key>/", pages.RunDetailPage.as_view(), name="run"),
]
