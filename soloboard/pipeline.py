"""How the recommendations are doing, at a glance: what waits, what came in, what was learned."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max

from recommendations import queue, valkey
from recommendations.models import FactorVersion, UserAction, UserEmbedding

DAY = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """waiting: entries of the queue; None while Valkey is away. version: None before the first."""

    waiting: int | None
    stored: int
    learned_at: datetime | None
    version: FactorVersion | None


def pipeline(now: datetime) -> Pipeline | None:
    """Return it, or None when nobody has sent an action yet; three queries."""
    waiting = valkey.ask(lambda _: queue.depth())
    stored = UserAction.objects.filter(received_at__gt=now - DAY).count()
    learned_at = UserEmbedding.objects.aggregate(at=Max("updated_at"))["at"]
    active = FactorVersion.objects.defer("arrays").filter(status=FactorVersion.Status.ACTIVE)
    version = active.first()
    if not (waiting or stored or learned_at or version):
        return None
    return Pipeline(waiting=waiting, stored=stored, learned_at=learned_at, version=version)
