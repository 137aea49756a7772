"""A made-up shop, so that a new installation has business figures to look at without any account."""

import math
from datetime import UTC, datetime

from django.http import HttpRequest, JsonResponse

VISITORS_A_DAY = 480
SALES_PER_VISITOR = 0.04
PRICE = 19


def demo_shop(request: HttpRequest) -> JsonResponse:
    """Today's figures so far. They grow over the day and start again at midnight UTC."""
    now = datetime.now(UTC)
    visitors = _visitors_so_far(now)
    sales = round(visitors * SALES_PER_VISITOR)
    return JsonResponse(
        {
            "shop": "SoloBoard demo shop (made up)",
            "today": {
                "visitors": visitors,
                "orders": sales,
                "revenue": f"{sales * PRICE}.00",
                "currency": "EUR",
            },
        }
    )


def _visitors_so_far(now: datetime) -> int:
    """A day that is quiet at night and busiest at noon; weekends bring half as many people."""
    share_of_day = (now.hour * 3600 + now.minute * 60 + now.second) / 86_400
    share_of_visitors = (1 - math.cos(math.pi * share_of_day)) / 2
    of_this_day = VISITORS_A_DAY // 2 if now.isoweekday() >= 6 else VISITORS_A_DAY
    return round(of_this_day * share_of_visitors)
