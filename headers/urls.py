from django.urls import path

from broker_site.routers import ReadingRouter
from headers.annotations import views as annotations
from headers.lists import HeaderViewSet
from headers.views import DescriptorViewSet

router = ReadingRouter()
router.register("headers", HeaderViewSet, basename="header")
router.register("descriptors", DescriptorViewSet, basename="descriptor")
urlpatterns = [
    *router.urls,
    path("headers/<str:key>/star/", annotations.StarView.as_view(), name="header-star"),
    path("headers/<str:key>/tags/", annotations.TagsView.as_view(), name="header-tags"),
    path("headers/<str:key>/notes/", annotations.NotesView.as_view(), name="header-notes"),
]
