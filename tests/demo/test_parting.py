"""The picture of two traces that part."""

import xml.etree.ElementTree as ElementTree
from hashlib import sha256

from demo.parting import Trace, first_difference, picture

SVG = "{http://www.w3.org/2000/svg}"
ROOTS = tuple(sha256(bytes([state])).digest() for state in range(21))
LOSSES = tuple(1 / (step + 1) for step in range(20))
HONEST = Trace("provider-2", ROOTS, LOSSES)
CHEATER = Trace("provider-1", (*ROOTS[:13], *[ROOTS[12]] * 8), LOSSES[:12])


def drawing(honest: Trace, cheater: Trace) -> ElementTree.Element:
    return ElementTree.fromstring(picture(honest, cheater))  # noqa: S314  # our own


def test_traces_part_at_the_step_that_was_skipped() -> None:
    assert first_difference(HONEST, CHEATER) == 12
    assert first_difference(HONEST, HONEST) is None


def test_states_without_work_keep_the_loss() -> None:
    assert [CHEATER.loss_of(state) for state in (12, 13, 20)] == [LOSSES[11]] * 3
    assert HONEST.loss_of(20) == LOSSES[19]


def test_picture_names_step_parties_and_every_state() -> None:
    drawn = drawing(HONEST, CHEATER)
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"step 12 gives another state", "provider-1", "provider-2"} <= set(words)
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 2
    squares = [square for square in drawn.iter(f"{SVG}rect") if square.find(f"{SVG}title") is not None]
    colours = [square.get("fill") for square in squares]
    assert colours[:13] == colours[21:34]
    assert all(one != other for one, other in zip(colours[13:21], colours[34:], strict=True))


def test_names_cannot_break_the_picture() -> None:
    drawn = drawing(Trace("<&>", ROOTS, LOSSES), CHEATER)
    assert "<&>" in [text.text for text in drawn.iter(f"{SVG}text")]
