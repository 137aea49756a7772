"""The hours in which a channel is not to be disturbed."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, kw_only=True)
class QuietHours:
    """Every day from `begin` until `end` by the clocks of a zone, over midnight if end is earlier.

    begin, end: different from each other.
    """

    begin: time
    end: time
    timezone: str

    def end_after(self, moment: datetime) -> datetime | None:
        """The instant at which the quiet that a moment lies in is over; None outside of it.

        moment: aware. The answer is in UTC and always later.
        """
        zone = ZoneInfo(self.timezone)
        local = moment.astimezone(zone)
        if not self._holds(local.time()):
            return None
        # In a night in which the clocks go back, the end may come twice, and the first may be over.
        for days in (0, 1):
            for fold in (0, 1):
                day = local.date() + timedelta(days=days)
                end = datetime.combine(day, self.end, zone).replace(fold=fold).astimezone(UTC)
                if end > moment:
                    return end
        raise AssertionError("A day has an end.")

    def _holds(self, clock: time) -> bool:
        if self.begin < self.end:
            return self.begin <= clock < self.end
        return clock >= self.begin or clock < self.end
