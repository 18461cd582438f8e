from django.urls import path

from headers import compare_page, guide, list_page, neighbours, pages, scan_page
from headers.annotations import searches
from headers.annotations import views as annotations

urlpatterns = [
    path("help/", guide.HelpPage.as_view(), name="help"),
    path("runs/", list_page.RunListPage.as_view(), name="runs"),
    path("runs/facets/", list_page.RunFacetsPage.as_view(), name="run-facets"),
    path("runs/<str:catalog>/<int:scan_id>/", scan_page.ScanPage.as_view(), name="scan"),
    path("compare/", compare_page.ComparePage.as_view(), name="compare"),
    path("runs/searches/", searches.SavedSearchesPage.as_view(), name="saved-searches"),
    path("runs/<str:key>/preview/", list_page.RunPreviewPage.as_view(), name="run-preview"),
    path(
        "runs/<str:key>/annotations/",
        annotations.AnnotationsPage.as_view(),
        name="run-annotations",
    ),
    path("runs/<str:key>/neighbours/", neighbours.RunNeighboursPage.as_view(), name="neighbours"),
    path("runs/<str:key>/", pages.RunDetailPage.as_view(), name="run"),
]
