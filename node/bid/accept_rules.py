"""The operator's `accept` rules as text: one rule a line, `#` begins a comment.

```
requester allow 0x…        only these, when any is allowed
requester deny 0x…
image allow ghcr.io/acme/  a prefix of the reference, or sha256:…
image deny …
class exact                only these, when any is named
hours 8-20                 hours of this machine's clock in which work may start
max-timeout 2h
max-retention 7d
min-price 0.01             tokens
max-exposure 500           tokens of deals not paid yet
reserve-cpu 1.5
reserve-memory 2GiB
```
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from capanode.node.addresses import address_of
from capanode.node.units import bytes_from_size, seconds_from_duration, wei_from_tokens
from capanode.protocol.faults import Misconfigured
from capanode.protocol.records import VerificationClass
from capanode.scheduler.rules import ALL_HOURS, Rules


def parse_rules(text: str, base: Rules) -> Rules:
    """The rules that the text adds to `base`.

    Raises:
        Misconfigured: every line that is wrong, at once.
    """
    rules, wrong = base, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            rules = _with(rules, words)
        except (ValueError, ArithmeticError) as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        raise Misconfigured(f"The accept rules are wrong: {'; '.join(wrong)}.")
    return rules


def _with(rules: Rules, words: list[str]) -> Rules:
    match words:
        case ["requester", "allow", address]:
            return replace(rules, requesters_allowed=rules.requesters_allowed | {address_of(address)})
        case ["requester", "deny", address]:
            return replace(rules, requesters_denied=rules.requesters_denied | {address_of(address)})
        case ["image", "allow", name]:
            return replace(rules, images_allowed=(*rules.images_allowed, name))
        case ["image", "deny", name]:
            return replace(rules, images_denied=(*rules.images_denied, name))
        case ["class", name]:
            named = frozenset[VerificationClass]() if rules.classes == frozenset(VerificationClass) else rules.classes
            return replace(rules, classes=named | {VerificationClass(name)})
        case ["hours", span]:
            return replace(rules, hours=_hours(span))
        case [name, value] if name in _NUMBERS:
            field, read = _NUMBERS[name]
            return replace(rules, **{field: read(value)})  # type: ignore[arg-type]  # the table pairs name and type
        case _:
            raise ValueError(f"there is no rule {' '.join(words)[:80]!r}")


def _hours(span: str) -> frozenset[int]:
    first, dash, last = span.partition("-")
    if not dash or not (first.isdigit() and last.isdigit()) or not (int(first) < 24 and int(last) <= 24):
        raise ValueError(f"{span[:20]!r} is not a span of hours such as 8-20")
    start, end = int(first), int(last)
    return frozenset(range(start, end)) if start < end else ALL_HOURS - frozenset(range(end, start))


def _millis(text: str) -> int:
    return int(Decimal(text) * 1000)


_NUMBERS: Final[dict[str, tuple[str, Callable[[str], int]]]] = {
    "max-timeout": ("max_timeout_s", lambda text: int(seconds_from_duration(text))),
    "max-retention": ("max_retention_s", lambda text: int(seconds_from_duration(text))),
    "min-price": ("min_price_wei", wei_from_tokens),
    "max-exposure": ("max_exposure_wei", wei_from_tokens),
    "reserve-cpu": ("reserved_cpu_millis", _millis),
    "reserve-memory": ("reserved_memory_bytes", bytes_from_size),
}
