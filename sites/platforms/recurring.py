"""Monthly recurring revenue: what prices of any interval come to in a month."""

from decimal import Decimal
from fractions import Fraction

# A year has 12 months, 52 weeks and 365 days; Stripe's and most others' reports count like this.
_PER_MONTH = {
    "day": Fraction(365, 12),
    "week": Fraction(52, 12),
    "month": Fraction(1),
    "year": Fraction(1, 12),
}


def per_month(amount: Decimal, interval: str, interval_count: int) -> Decimal:
    """Spread an amount that is due every `interval_count` intervals over a month.

    interval: 'day', 'week', 'month' or 'year'. ValueError for another one or a count below 1.
    """
    if interval not in _PER_MONTH or interval_count < 1:
        raise ValueError("there is no such interval")
    share = _PER_MONTH[interval] / interval_count
    return amount * share.numerator / share.denominator
