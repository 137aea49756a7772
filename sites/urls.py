"""The API of sites and their syncs. No trailing slashes."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from sites.api import HistoryView, IncidentViewSet, MonitoredSiteViewSet, SyncLogViewSet

router = SimpleRouter(trailing_slash=False)
router.register("sites", MonitoredSiteViewSet)
router.register("incidents", IncidentViewSet)
router.register("sync-logs", SyncLogViewSet)

urlpatterns = [*router.urls, path("history", HistoryView.as_view(), name="history")]
