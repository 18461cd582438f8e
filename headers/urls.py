from broker_site.routers import ReadingRouter
from headers.lists import HeaderViewSet
from headers.views import DescriptorViewSet

router = ReadingRouter()
router.register("headers", HeaderViewSet, basename="header")
router.register("descriptors", DescriptorViewSet, basename="descriptor")
urlpatterns = router.urls
