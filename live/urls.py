from django.urls import path

from live import views

urlpatterns = [
    path("headers/live/", views.LiveListView.as_view(), name="header-live"),
    path(
        "headers/<str:key>/documents/", views.LiveDocumentsView.as_view(), name="header-documents"
    ),
]
