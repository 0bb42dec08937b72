"""The committed vectors of verdicts are what the node's arithmetic says today."""

from pathlib import Path

import pytest

from tests.vectors import verdicts


@pytest.mark.parametrize("name", verdicts.ENDS)
def test_vectors_of_verdicts_are_renewed(name: str) -> None:
    written = (Path(__file__).parent / f"verdicts_{name}.json").read_text(encoding="utf-8")
    assert written == verdicts.rendered(name), "run: python -m tests.vectors.verdicts"
