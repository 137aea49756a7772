"""Claims: of several processes that are asked for the same sites, one fetches each."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from sites.models import MonitoredSite


def claim(
    site_ids: Sequence[int], run_id: int, *, attempted_before: datetime
) -> list[MonitoredSite]:
    """Take those of the sites for a run that no other run has, and that were not attempted since.

    They are the run's until they are written or the run ends, however it ends. Those that waited
    longest come first, with their credentials sealed.
    """
    wanted = MonitoredSite.objects.numbered(site_ids).not_attempted_since(attempted_before)
    with transaction.atomic():
        # Two statements: one alone would wait for another's claim, and then ask for the other's run
        # in a snapshot from before it began. Locked in the order of the ids, as all writers do.
        locked = list(wanted.order_by("pk").select_for_update().values_list("pk", flat=True))
        still_wanted = MonitoredSite.objects.numbered(locked).not_attempted_since(attempted_before)
        still_wanted.unclaimed().update(claimed_by=run_id)
    claimed = MonitoredSite.objects.numbered(site_ids).filter(claimed_by=run_id)
    return list(claimed.longest_waiting_first().defer("last_snapshot").sealed())
