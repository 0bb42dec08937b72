"""A setting that nothing reads would be a promise that the node does not keep."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from capanode.node.config import NodeConfig

NODE = Path(__file__).resolve().parents[2] / "node"
SOURCES = "\n".join(
    path.read_text("utf-8") for path in NODE.rglob("*.py") if path.name not in ("config.py", "config_file.py")
)


def names(model: type[BaseModel]) -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner: object = field.annotation
        found += names(inner) if isinstance(inner, type) and issubclass(inner, BaseModel) else [name]
    return found


@pytest.mark.parametrize("name", sorted(set(names(NodeConfig)) - {"roles", "network"}))
def test_setting_is_read_by_the_node(name: str) -> None:
    assert re.search(rf"\.{name}\b", SOURCES), f"nothing reads the setting {name}"
