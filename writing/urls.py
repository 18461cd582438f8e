from django.urls import path

from writing import views

urlpatterns = [
    path("catalogs/<str:catalog>/documents/", views.WriteView.as_view(), name="write-documents"),
    # Tiled's protocol reads and writes documents at one address.
    path("documents/<path:node>", views.TiledDocumentsView.as_view(), name="tiled-documents"),
]
