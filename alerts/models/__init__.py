"""Rules, the alerts that come of them, and the channels that they go out by."""

from alerts.models.alert import Alert, AlertEvent
from alerts.models.channel import Channel
from alerts.models.delivery import Delivery
from alerts.models.rule import AlertRule

__all__ = ["Alert", "AlertEvent", "AlertRule", "Channel", "Delivery"]
