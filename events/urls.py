from django.urls import path

from broker_site.routers import ReadingRouter
from events import array_views, stream_views, table_views, thumbnail_views, views

router = ReadingRouter()
router.register("events", views.EventViewSet, basename="event")
urlpatterns = [
    *router.urls,
    path(
        "events/<str:uid>/data/<path:field>/",
        array_views.EventArrayView.as_view(),
        name="event-array",
    ),
    path(
        "headers/<str:key>/streams/",
        stream_views.StreamsView.as_view(),
        name="header-streams",
    ),
    # Names of streams and fields may hold anything, slashes too.
    path(
        "headers/<str:key>/streams/<path:stream>/data/<path:field>/",
        array_views.StreamArrayView.as_view(),
        name="stream-array",
    ),
    path(
        "headers/<str:key>/streams/<path:stream>/table/",
        table_views.TableView.as_view(),
        name="stream-table",
    ),
    path("headers/<str:key>/export/", views.ExportView.as_view(), name="header-export"),
    path(
        "headers/<str:key>/thumbnail/",
        thumbnail_views.ThumbnailView.as_view(),
        name="header-thumbnail",
    ),
]
