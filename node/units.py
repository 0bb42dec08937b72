"""Amounts, sizes and durations as people write and read them; integers inside."""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation, localcontext
from typing import Final

from capanode.protocol.ids import Wei

WEI_PER_TOKEN: Final = 10**18
"""Every payment token has 18 decimals on the networks that this release knows."""

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(|B|[KMGT]i?B?)", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)")
_BINARY: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DECIMAL: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SPANS: Final = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def wei_from_tokens(text: str | int | Decimal) -> Wei:
    """Base units of an amount such as `1.5`; exact.

    Raises:
        ValueError: no number, negative, or finer than one base unit.
    """
    try:
        tokens = Decimal(str(text).replace("_", "").strip())
    except InvalidOperation:
        raise ValueError(f"{str(text)[:40]!r} is no amount; write tokens as 1.5") from None
    if not tokens.is_finite() or tokens < 0 or tokens >= 10**18:
        raise ValueError(f"{str(text)[:40]!r} is out of range; write an amount of tokens that is not negative")
    # The default context keeps 28 digits, one fewer than the largest amount has.
    with localcontext(prec=60):
        wei = tokens.scaleb(18)
        is_exact = wei == wei.to_integral_value() and wei.scaleb(-18) == tokens
    if not is_exact:
        raise ValueError(f"{str(text)[:40]!r} is finer than one base unit (18 decimals)")
    return Wei(int(wei))


def wei_from_gwei(text: str | int | Decimal) -> Wei:
    """Base units of a price of gas such as `0.05`, in billionths of a coin; exact.

    Raises:
        ValueError: no number, negative, or finer than one base unit.
    """
    try:
        price = Decimal(str(text).replace("_", "").strip())
    except InvalidOperation:
        raise ValueError(f"{str(text)[:40]!r} is no price of gas; write gwei as 30 or 0.05") from None
    wei = price.scaleb(9) if price.is_finite() and 0 <= price < 10**9 else Decimal(-1)
    if wei < 0 or wei != wei.to_integral_value():
        raise ValueError(f"{str(text)[:40]!r} is out of range; write gwei as 30 or 0.05, with nine decimals at most")
    return Wei(int(wei))


def gwei(wei: int) -> str:
    """A price of gas for reading: `30`, `0.05`."""
    return tokens(wei * 10**9)


def tokens(wei: int) -> str:
    """The exact decimal text of an amount, without trailing zeros: `1.5`, `0.000001`, `0`."""
    sign, wei = ("-", -wei) if wei < 0 else ("", wei)
    whole, rest = divmod(wei, WEI_PER_TOKEN)
    fraction = f"{rest:018d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def bytes_from_size(value: str | int) -> int:
    """Bytes of `512MiB`, `1.5 GiB`, `10GB`, `4096`; `K M G T` alone are binary.

    Raises:
        ValueError: no size.
    """
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is no size; write it as 512MiB or 2GiB")
    unit = found[2].lower()
    factors = _DECIMAL if len(unit) == 2 and unit[1] == "b" else _BINARY
    return int(Decimal(found[1]) * factors[unit.rstrip("b").rstrip("i")])


def size(count: int) -> str:
    """A size for reading: `1.2 GiB`."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def seconds_from_duration(value: str | int | float | Decimal) -> float:
    """Seconds of `90`, `90s`, `250ms`, `10m`, `2h`, `1d`.

    Raises:
        ValueError: no duration.
    """
    if not isinstance(value, str):
        return float(value)
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{value[:40]!r} is no duration; write it as 90s, 10m or 2h")
    return float(Decimal(found[1]) * _MILLISECONDS[found[2]] / 1000)


def clock_time(unix_s: float) -> str:
    """A moment near by for reading, in this machine's zone: `14:05:09`, with the date on another day."""
    moment = datetime.fromtimestamp(unix_s).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """A duration for reading: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for unit, name, below, below_name in _SPANS:
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit} {name} {rest} {below_name}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"
