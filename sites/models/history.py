"""What was found of a site over time: points, and what they come to by hour and by day."""

from django.db import models

from sites.models.site import MonitoredSite
from sites.models.sync_log import SyncLog


class SiteSnapshot(models.Model):
    """What one attempt at one site found; a failed attempt has no data and says why."""

    site = models.ForeignKey(MonitoredSite, on_delete=models.CASCADE, related_name="snapshots")
    sync_log = models.ForeignKey(
        SyncLog, null=True, on_delete=models.SET_NULL, related_name="results"
    )
    taken_at = models.DateTimeField()
    state = models.CharField(max_length=20, choices=MonitoredSite.State)
    reason = models.TextField(blank=True)
    data = models.JSONField(null=True)

    class Meta:
        db_table = "site_snapshots"
        ordering = ["-taken_at", "-id"]
        indexes = [models.Index(fields=["site", "-taken_at"], name="site_snapshots_by_site")]

    def __str__(self) -> str:
        return f"{self.site} {self.taken_at:%Y-%m-%d %H:%M:%S} {self.state}"


class Period(models.Model):
    """What the points of an hour or a day come to. A period without any has no row: a gap.

    attempts: all but those while our own network was away; good: found up or slow; down: measured as
        down. What is left could not be measured, and counts for nothing.
    latency_counts: a histogram that can be added up; see sites/history/latency.py.
    visitors, sales, revenue_minor: of this period alone; None where they are not known, which is
        not zero. revenue_minor is by currency.
    """

    attempts = models.PositiveIntegerField(default=0)
    good = models.PositiveIntegerField(default=0)
    down = models.PositiveIntegerField(default=0)
    latency_counts = models.JSONField(default=dict)
    visitors = models.BigIntegerField(null=True)
    sales = models.BigIntegerField(null=True)
    revenue_minor = models.JSONField(null=True)

    class Meta:
        abstract = True


class SiteHour(Period):
    """An hour of a site. begins_at: a whole hour of UTC."""

    site = models.ForeignKey(MonitoredSite, on_delete=models.CASCADE, related_name="hours")
    begins_at = models.DateTimeField()

    class Meta:
        db_table = "site_hours"
        ordering = ["begins_at"]
        constraints = [models.UniqueConstraint(fields=["site", "begins_at"], name="site_hour_once")]

    def __str__(self) -> str:
        return f"{self.site} {self.begins_at:%Y-%m-%d %H:%M}"


class SiteDay(Period):
    """A day of a site in its own time zone.

    metrics: what else its platform says of the day, by name: {"value": …, "unit": …}.
    settled: whether the platform said its figures after the day was over. They are better than the
        last ones that were seen during the day, and the roll-up leaves them alone.
    """

    site = models.ForeignKey(MonitoredSite, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()
    metrics = models.JSONField(null=True)
    settled = models.BooleanField(default=False)

    class Meta:
        db_table = "site_days"
        ordering = ["day"]
        constraints = [models.UniqueConstraint(fields=["site", "day"], name="site_day_once")]

    def __str__(self) -> str:
        return f"{self.site} {self.day}"
