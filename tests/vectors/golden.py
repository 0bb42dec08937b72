"""The golden vectors as values: 0x hex becomes bytes, decimal strings become integers."""

import json
from pathlib import Path
from typing import Any


def load(name: str) -> dict[str, Any]:
    """The vectors in `<name>.json`."""
    text = (Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8")
    vectors = _value(json.loads(text))
    assert isinstance(vectors, dict)
    return vectors


def _value(value: Any) -> Any:
    match value:
        case str() if value.startswith("0x"):
            return bytes.fromhex(value[2:])
        case str() if value.isdecimal():
            return int(value)
        case list():
            return [_value(item) for item in value]
        case dict():
            return {key: _value(item) for key, item in value.items()}
        case _:
            return value
