"""The API of alerts. No trailing slashes."""

from rest_framework.routers import SimpleRouter

from alerts.api import AlertViewSet

router = SimpleRouter(trailing_slash=False)
router.register("alerts", AlertViewSet)

urlpatterns = router.urls
