from django.urls import path

from events import archive_views

urlpatterns = [
    path("headers/archive/", archive_views.ArchiveView.as_view(), name="archive"),
    path("headers/archive/size/", archive_views.ArchiveSizeView.as_view(), name="archive-size"),
]
