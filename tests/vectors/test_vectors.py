"""The committed vectors are what the independent references say today."""

from pathlib import Path

import pytest

from tests.vectors import generate


@pytest.mark.parametrize("name", generate.FILES)
def test_vectors_are_renewed(name: str) -> None:
    written = (Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8")
    assert written == generate.rendered(name), "run: python tests/vectors/generate.py"
