"""What a quantity costs in each of Lemon Squeezy's pricing models.

Source: docs.lemonsqueezy.com/api/prices and docs.lemonsqueezy.com/help/products/pricing-models.
"""

from decimal import Decimal

from sites.platforms import json_api
from sites.platforms.json_api import Json, whole


def amount(price: Json, quantity: int) -> Decimal:
    """Return what a quantity costs at a time, in minor units, maybe with a fraction of one.

    price: the attributes of a price object. ValueError when its scheme is none of the four.
    """
    match price["scheme"]:
        case "standard":
            return _unit_price(price) * quantity
        case "package":
            packages = -(-quantity // whole(price["package_size"]))  # A begun one is paid in full.
            return _unit_price(price) * packages
        case "volume":
            return _volume(price["tiers"], quantity)
        case "graduated":
            return _graduated(price["tiers"], quantity)
    raise ValueError("there is no such scheme")


def _volume(tiers: Json, quantity: int) -> Decimal:
    """Take all units at the price of the tier of the last one."""
    for tier in tiers:
        if quantity <= _last_unit(tier):
            return _cost(tier, quantity)
    raise ValueError("the tiers end before the quantity")


def _graduated(tiers: Json, quantity: int) -> Decimal:
    """Add up the units of each tier at its own price, with the fee of each tier that is reached."""
    total, counted = Decimal(0), 0
    for tier in tiers:
        units = int(min(Decimal(quantity), _last_unit(tier))) - counted
        if units > 0:
            total += _cost(tier, units)
            counted += units
    if counted < quantity:
        raise ValueError("the tiers end before the quantity")
    return total


def _cost(tier: Json, units: int) -> Decimal:
    return _unit_price(tier) * units + whole(tier["fixed_fee"] or 0)


def _last_unit(tier: Json) -> Decimal:
    return Decimal("Infinity") if tier["last_unit"] == "inf" else Decimal(int(tier["last_unit"]))


def _unit_price(price: Json) -> Decimal:
    """Return the price of a unit in minor units; one with a fraction of them is a text."""
    if price["unit_price"] is None:
        return json_api.number(price["unit_price_decimal"])
    return Decimal(whole(price["unit_price"]))
