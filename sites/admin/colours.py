"""The colours of what is found of sites and of their syncs."""

from sites.models import MonitoredSite, SyncLog

KIND_OF_STATE = {
    MonitoredSite.State.NEW: "off",
    MonitoredSite.State.UP: "good",
    MonitoredSite.State.SLOW: "warn",
    MonitoredSite.State.DOWN: "bad",
    MonitoredSite.State.STALE: "warn",
    MonitoredSite.State.CREDENTIALS_REFUSED: "bad",
    MonitoredSite.State.MISCONFIGURED: "bad",
    MonitoredSite.State.UNAVAILABLE: "warn",
    MonitoredSite.State.OFFLINE: "warn",
}
KIND_OF_STATUS = {
    SyncLog.Status.RUNNING: "info",
    SyncLog.Status.SUCCESS: "good",
    SyncLog.Status.PARTIAL: "warn",
    SyncLog.Status.FAILED: "bad",
}
