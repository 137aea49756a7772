"""Amounts of money as whole minor units (cents, yen, fils) of ISO 4217 currencies, and how they are
written.
"""

from decimal import Decimal

# ISO 4217, list one (six-group.com, currency and funds codes), active codes of countries.
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN
    BZD CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
    GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR
    KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
    MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR
    SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS
    UAH UGX USD UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()
)
_OTHER_EXPONENTS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENTS = {
    currency: exponent
    for exponent, currencies in _OTHER_EXPONENTS.items()
    for currency in currencies.split()
}
# PostgreSQL's bigint ends at 9.2e18; no founder's day does.
_LIMIT_MINOR = Decimal(10) ** 18


def exponent(currency: str) -> int:
    """Return how many decimals a currency has: 2 for EUR, 0 for JPY, 3 for KWD."""
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """Turn an amount in units (Decimal('12.99'), 'EUR') into whole minor units (1299).

    A fraction of a minor unit is rounded half to even. ValueError for an absurdly large amount.
    """
    minor = amount.scaleb(exponent(currency))
    if abs(minor) >= _LIMIT_MINOR:
        raise ValueError("the amount has more than 18 digits")
    return round(minor)


def to_units(amount_minor: int, currency: str) -> Decimal:
    """Turn minor units back into units with all their decimals: 1290, 'EUR' is 12.90."""
    return Decimal(amount_minor).scaleb(-exponent(currency))


def money(minor: int, currency: str) -> str:
    """129900, 'EUR' is 1,299.00 EUR; yen have no decimals."""
    return f"{to_units(minor, currency):,.{exponent(currency)}f} {currency}"


def with_unit(value: float, unit: str) -> str:
    """Write a metric: '12.5%', '340 ms', '1,299.00 EUR' for the unit 'EUR minor'."""
    if unit.endswith(" minor"):
        return money(int(value), unit.removesuffix(" minor"))
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
    return f"{text}%" if unit == "%" else f"{text} {unit}".strip()
