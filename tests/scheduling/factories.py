"""Rows for the tests, valid unless told otherwise."""

from typing import Any

from scheduling.models import ScheduledJob


def scheduled_job(**fields: Any) -> ScheduledJob:
    """An unsaved schedule of an address."""
    defaults = {
        "key": "report",
        "name": "Report",
        "url": "https://example.com/report",
        "cron": "0 7 * * MON",
    }
    if "job_key" in fields:
        del defaults["url"]
    return ScheduledJob(**{**defaults, **fields})
