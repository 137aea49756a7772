"""What can be worth an alert: one module per kind of rule, one line per kind here."""

from typing import Any

from alerts.rules.base import RuleKind
from alerts.rules.down import Down
from alerts.rules.expiry import Expiry
from alerts.rules.no_sales import NoSales
from alerts.rules.overdue import Overdue
from alerts.rules.slow import Slow
from alerts.rules.usual_band import UsualBand

RULES: dict[str, RuleKind[Any]] = {
    kind.key: kind for kind in (Down(), Slow(), NoSales(), UsualBand(), Expiry(), Overdue())
}
