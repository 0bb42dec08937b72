"""JSON: numbers with a point or an exponent are values, all the rest has to be equal."""

import json
from typing import Any, Final

from capanode.proofs.formats.contents import MAX_TEXT_BYTES, Contents, Unreadable, floats

MAX_DEPTH: Final = 64
_MAX_DIGITS: Final = 400


def read(data: bytes) -> Contents:
    """The numbers of a JSON text in the order of its sorted keys; `NaN` and `Infinity` are taken as Python writes them.

    Raises:
        Unreadable: not UTF-8 JSON, too long or too deep, or with a key twice.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise Unreadable("it is longer than a text that is read")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_table, parse_int=_whole, parse_float=_float)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no JSON ({type(error).__name__})") from error
    frame: list[str] = []
    numbers: list[float] = []
    _walk(value, 0, frame, numbers)
    return Contents((("", floats(numbers)),), tuple(frame))


def _walk(value: Any, depth: int, frame: list[str], numbers: list[float]) -> None:
    if depth > MAX_DEPTH:
        raise Unreadable(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, float):
        frame.append("number")
        numbers.append(value)
    elif isinstance(value, dict):
        frame.append("{")
        for key in sorted(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            frame.append(json.dumps(key))
            _walk(value[key], depth + 1, frame, numbers)
        frame.append("}")
    elif isinstance(value, list):
        frame.append("[")
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            _walk(item, depth + 1, frame, numbers)
        frame.append("]")
    else:
        frame.append(json.dumps(value))


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key twice")
    return table


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number with too many digits")
    return int(text)


def _float(text: str) -> float:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number with too many digits")
    return float(text)
