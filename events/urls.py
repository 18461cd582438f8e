from django.urls import path

from events import views

urlpatterns = [
    path("events/", views.EventListView.as_view(), name="event-list"),
    path("headers/<str:key>/documents/", views.DocumentsView.as_view(), name="header-documents"),
]
