"""A made-up shop, so that a new installation has business figures to look at without any account."""

import math
from datetime import UTC, date, datetime

from django.http import HttpRequest, JsonResponse

VISITORS_A_DAY = 480
SALES_PER_VISITOR = 0.04
#: The rest of the sales is in dollars.
SHARE_OF_EUROS = 0.7
PRICE_MINOR = {"EUR": 1900, "USD": 2100}


def demo_shop(request: HttpRequest) -> JsonResponse:
    """Today's figures so far. They grow over the day and start again at midnight UTC."""
    now = datetime.now(UTC)
    share = (now.hour * 3600 + now.minute * 60 + now.second) / 86_400
    visitors, sales, revenue_minor = so_far(visitors_of(now.date()), share)
    return JsonResponse(
        {
            "shop": "SoloBoard demo shop (made up)",
            "today": {
                "visitors": visitors,
                "orders": sales,
                "revenue": _units(revenue_minor["EUR"]),
                "currency": "EUR",
                "revenue_usd": _units(revenue_minor["USD"]),
            },
        }
    )


def visitors_of(day: date) -> float:
    """How many a usual day has in all; weekends bring half as many."""
    return VISITORS_A_DAY / 2 if day.isoweekday() >= 6 else VISITORS_A_DAY


def so_far(visitors_of_day: float, share_of_day: float) -> tuple[int, int, dict[str, int]]:
    """Visitors, sales, and revenue in minor units, of a day that is quiet at night and busiest at
    noon.

    share_of_day: from 0 at midnight to 1.
    """
    visitors = round(visitors_of_day * (1 - math.cos(math.pi * share_of_day)) / 2)
    sales = round(visitors * SALES_PER_VISITOR)
    in_euros = round(sales * SHARE_OF_EUROS)
    orders = {"EUR": in_euros, "USD": sales - in_euros}
    return visitors, sales, {name: count * PRICE_MINOR[name] for name, count in orders.items()}


def _units(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"
