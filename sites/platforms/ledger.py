"""Sales, refunds and fees of each day of a site, summed up from entries in any order."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from sites.platforms.base import FetchRequest, Figures, Metric


def money_metrics(kind: str, amounts_minor: Mapping[str, int]) -> dict[str, Metric]:
    """Return a metric for each currency: {'EUR': 4990} of 'mrr' becomes mrr_eur, 'EUR minor'."""
    return {
        f"{kind}_{currency.lower()}": Metric(value=amount, unit=f"{currency} minor")
        for currency, amount in sorted(amounts_minor.items())
    }


class Ledger:
    """The days that a fetch wants, each complete.

    Every day from the first wanted one to today is there, and every currency that was met on one of
    them is on all of them: a day without a sale has a revenue of 0, not none.

    kinds: names of amounts that are kept beside the revenue ('refunds', 'fees'); each becomes a
        metric for each currency.
    """

    def __init__(self, request: FetchRequest, *kinds: str) -> None:
        self._request = request
        self._kinds = kinds
        self._sales: Counter[date] = Counter()
        self._amounts: Counter[tuple[date, str, str]] = Counter()
        self._currencies: set[str] = set()

    def enter(
        self,
        moment: datetime,
        currency: str,
        *,
        sales: int = 0,
        revenue_minor: int = 0,
        **amounts_minor: int,
    ) -> None:
        """Add to the day in which a moment lies; what lies outside the wanted days is left out.

        amounts_minor: by kind, in minor units of the currency like the revenue.
        """
        day = self._request.day_of(moment)
        if not self._request.first_day <= day <= self._request.today:
            return
        if unknown := amounts_minor.keys() - set(self._kinds):
            raise TypeError(f"this ledger keeps no {', '.join(unknown)}")
        self._currencies.add(currency)
        self._sales[day] += sales
        for kind, amount_minor in {"revenue": revenue_minor, **amounts_minor}.items():
            self._amounts[day, kind, currency] += amount_minor

    @property
    def currencies(self) -> frozenset[str]:
        """Those that were met on one of the days."""
        return frozenset(self._currencies)

    def figures(self, day: date, metrics: Mapping[str, Metric] | None = None) -> Figures:
        """Return the figures of a day, and these metrics among its own."""
        own: dict[str, Metric] = {}
        for kind in self._kinds:
            own |= money_metrics(kind, self._of(day, kind))
        return Figures(
            sales=self._sales[day],
            revenue_minor=self._of(day, "revenue"),
            metrics={**own, **(metrics or {})},
        )

    def past_days(self) -> dict[date, Figures]:
        """Return the figures of the days before today."""
        first_day = self._request.first_day
        days = [first_day + timedelta(number) for number in range(self._request.past_days)]
        return {day: self.figures(day) for day in days}

    def _of(self, day: date, kind: str) -> dict[str, int]:
        return {
            currency: self._amounts[day, kind, currency] for currency in sorted(self._currencies)
        }
