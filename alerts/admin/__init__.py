"""The admin of this app: rules, channels, and the alerts with what was sent of them."""

from alerts.admin import alerts, channels, rules

__all__ = ["alerts", "channels", "rules"]
