"""docs/cli.md lists every setting with its default, as the code has them."""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from capanode.node.config import NodeConfig
from capanode.node.config_file import known_places
from capanode.node.units import duration, gwei, size, tokens

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
BEGIN = "<!-- settings: made by tests/config/test_settings_page.py, run with CAPANODE_WRITE_DOCS=1 -->\n"
END = "<!-- end of settings -->\n"
DURATIONS = {"max_clock_skew", "pause", "raise_fees_after", "max_wait"}


def test_settings_on_the_page_are_those_of_the_code() -> None:
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}{_table()}{END}{after}"
    if os.environ.get("CAPANODE_WRITE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
    assert text == wanted, "run this test with CAPANODE_WRITE_DOCS=1 to write the table anew"


def _table() -> str:
    rows = ["| setting | default |", "|---|---|"]
    rows += [
        f"| `{'.'.join(place)}` | {_default(place)} |"
        for place, section in known_places().items()
        if section is None and place != ("data_dir",)
    ]
    return "\n" + "\n".join(rows) + "\n\n"


def _default(place: tuple[str, ...]) -> str:
    model: type[BaseModel] = NodeConfig
    for part in place[:-1]:
        inner = known_places(model)[(part,)]
        assert inner is not None
        model = inner
    name, field = next((n, f) for n, f in model.model_fields.items() if (f.alias or n) == place[-1])
    return _shown(place, name, field.default)


def _shown(place: tuple[str, ...], name: str, value: Any) -> str:
    if value in (None, "", ()) or value == frozenset():
        return "–"
    if place[-1].endswith("_gwei"):
        return gwei(value)
    if name.endswith("_wei"):
        return tokens(value)
    if place[0] == "timeouts" or name in DURATIONS:
        return duration(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20 and not name.endswith("_ppm"):
        return size(value)
    if isinstance(value, (tuple, frozenset)):
        return ", ".join(sorted(str(item) for item in value))
    return str(value).lower() if isinstance(value, bool) else str(value)
