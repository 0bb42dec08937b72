"""What commands print: results to standard output, everything on the way there to standard error."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from capanode.node.api.wire import plain


def emit(value: Any) -> None:
    """One JSON value as the whole standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2) + "\n")
    sys.stdout.flush()


def say(sentence: str) -> None:
    """A line for the person at the terminal."""
    sys.stdout.write(sentence + "\n")


def note(sentence: str) -> None:
    """Something that happened on the way; kept apart from results."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def pairs(rows: Mapping[str, object]) -> None:
    """Names and values in two columns; empty ones are left out."""
    shown = {name: str(value) for name, value in rows.items() if value not in (None, "", ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        say(f"{name:<{width}}  {value}")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Columns as wide as they need; `empty` is said when there is no row."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not texts:
        say(empty)
        return
    widths = [max(len(line[i]) for line in [list(header), *texts]) for i in range(len(header))]
    for line in [list(header), *texts]:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def is_terminal(stream: TextIO = sys.stderr) -> bool:
    """Whether a person looks at it."""
    return stream.isatty()
