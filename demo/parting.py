"""A picture of two traces of one job that part: what each state is, and how good the model in it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 760
LEFT: Final = 130
RIGHT: Final = 24
TOP: Final = 48
BOTTOM: Final = 300
"""Where the curves end; the rows of states stand below."""
ROW: Final = 40
SIDE: Final = 20
HONEST: Final = "#1f6f8b"
CHEATER: Final = "#c0392b"
MARK: Final = "#7f8c8d"


@dataclass(frozen=True, slots=True)
class Trace:
    """States from the first to the last, and the loss after each step: one fewer, or fewer still where it stopped."""

    name: str
    state_roots: Sequence[bytes]
    losses: Sequence[float]

    def loss_of(self, state: int) -> float:
        """The loss of the model in a state; a state that nothing was done for has that of the one before."""
        return self.losses[min(state, len(self.losses)) - 1]


def first_difference(honest: Trace, cheater: Trace) -> int | None:
    """The step after which the states differ; None where they do not."""
    pairs = zip(honest.state_roots, cheater.state_roots, strict=False)
    return next((state - 1 for state, (one, other) in enumerate(pairs) if one != other), None)


def picture(honest: Trace, cheater: Trace) -> str:
    """Both traces as an SVG of their own: the losses as curves, each state as a square in a colour made of its root."""
    height = BOTTOM + 60 + 2 * ROW + 30
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *_parting(honest, cheater, height),
            *_curve(honest, honest, cheater, HONEST),
            *_curve(cheater, honest, cheater, CHEATER),
            *_states(honest, len(honest.state_roots), BOTTOM + 60, HONEST),
            *_states(cheater, len(honest.state_roots), BOTTOM + 60 + ROW, CHEATER),
            "</svg>\n",
        )
    )


def _parting(honest: Trace, cheater: Trace, height: int) -> Iterator[str]:
    step = first_difference(honest, cheater)
    if step is None:
        yield _text(WIDTH / 2, 28, "the traces are the same", MARK, "middle")
        return
    x = (_x(step, len(honest.state_roots)) + _x(step + 1, len(honest.state_roots))) / 2
    yield f'<path d="M{x:.1f} 36V{height - 36}" stroke="{MARK}" stroke-dasharray="4 3"/>'
    yield _text(x, 28, f"step {step} gives another state", MARK, "middle")


def _curve(trace: Trace, honest: Trace, cheater: Trace, colour: str) -> Iterator[str]:
    known = [loss for one in (honest, cheater) for loss in one.losses]
    least, most, count = min(known), max(known), len(trace.state_roots)
    span = (most - least) or 1.0
    points = " ".join(
        f"{_x(state, len(honest.state_roots)):.1f},"
        f"{BOTTOM - (trace.loss_of(state) - least) / span * (BOTTOM - TOP):.1f}"
        for state in range(1, count)
    )
    yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
    if trace is honest:
        yield _text(LEFT - 10, TOP + 4, f"loss {most:.2f}", MARK, "end")
        yield _text(LEFT - 10, BOTTOM + 4, f"{least:.2f}", MARK, "end")


def _states(trace: Trace, count: int, y: int, colour: str) -> Iterator[str]:
    yield _text(LEFT - 22, y + 15, trace.name, colour, "end")
    for state, root in enumerate(trace.state_roots):
        x = _x(state, count) - SIDE / 2
        yield (
            f'<rect x="{x:.1f}" y="{y}" width="{SIDE}" height="{SIDE}" fill="#{root[:3].hex()}">'
            f"<title>state {state}: {root.hex()}</title></rect>"
        )


def _x(state: int, count: int) -> float:
    return LEFT + state / max(count - 1, 1) * (WIDTH - LEFT - RIGHT)


def _text(x: float, y: float, words: str, colour: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'
