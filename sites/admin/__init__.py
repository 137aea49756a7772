"""The admin of this app: sites, their incidents, and the log of the syncs."""

from sites.admin import incidents, sites, sync_logs

__all__ = ["incidents", "sites", "sync_logs"]
