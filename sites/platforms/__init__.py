"""Where the figures of a site come from: one module per platform, one line per platform here."""

from sites.platforms.base import Platform
from sites.platforms.custom_json import CustomJson
from sites.platforms.google_analytics import GoogleAnalytics
from sites.platforms.lemon_squeezy import LemonSqueezy
from sites.platforms.shopify import Shopify
from sites.platforms.stripe import Stripe
from sites.platforms.uptime import Uptime

PLATFORMS: dict[str, Platform] = {
    platform.key: platform
    for platform in (
        Uptime(),
        CustomJson(),
        GoogleAnalytics(),
        Stripe(),
        LemonSqueezy(),
        Shopify(),
    )
}


def get_platform(key: str) -> Platform:
    """Return the platform with this key; KeyError names those there are."""
    try:
        return PLATFORMS[key]
    except KeyError:
        raise KeyError(f"no platform '{key}'; there are: {', '.join(PLATFORMS)}") from None
