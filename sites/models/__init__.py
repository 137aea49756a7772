"""Monitored sites, what was found of them over time, and the log of their syncs."""

from sites.models.history import SiteDay, SiteHour, SiteSnapshot
from sites.models.incident import Incident, IncidentEvent
from sites.models.site import STALE_AFTER, STATE_OF_HEALTH, MonitoredSite, MonitoredSiteQuerySet
from sites.models.sync_log import SyncChunk, SyncLog

__all__ = [
    "STALE_AFTER",
    "STATE_OF_HEALTH",
    "Incident",
    "IncidentEvent",
    "MonitoredSite",
    "MonitoredSiteQuerySet",
    "SiteDay",
    "SiteHour",
    "SiteSnapshot",
    "SyncChunk",
    "SyncLog",
]
