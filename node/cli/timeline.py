"""Shows a job's timeline as it happens, with a bar for whatever takes time."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from capanode.node.api.port import JobView, Json
from capanode.node.cli.exits import Exit
from capanode.node.cli.output import is_terminal, note
from capanode.node.units import size

ENDED: Final = frozenset({"paid", "undecided", "refunded", "failed", "cancelled"})
LOST: Final = frozenset({"undecided", "refunded", "failed", "cancelled"})

Until = Callable[[JobView], bool]


def has_ended(view: JobView) -> bool:
    """Whether nothing will happen to the job any more."""
    return view.state in ENDED


def has_result(view: JobView) -> bool:
    """Whether the verified outputs are here, or never will be."""
    return view.result_dir is not None or has_ended(view)


def exit_of_job(view: JobView) -> Exit:
    """What a job's end means for the exit code."""
    if view.state in LOST:
        return Exit.NO_RESULT
    return Exit.JOB_FAILED if view.exit_code else Exit.DONE


def follow_submit(items: Iterable[Json], *, quiet: bool) -> JobView:
    """Show how inputs and image are taken in; the job once the node has it."""
    with _progress(quiet) as show:
        for item in items:
            if "job" in item:
                view: JobView = item["job"]
                return view
            if "note" in item:
                show.line(item["note"])
            else:
                show.progress(item["progress"])
    raise AssertionError("a submit stream ends with the job or with a fault")


def follow(views: Iterator[JobView], until: Until, *, quiet: bool) -> JobView:
    """Show each new entry of the timeline, until the job is as far as wanted; its last view."""
    shown = 0
    view: JobView | None = None
    with _progress(quiet) as show:
        for view in views:
            for entry in view.timeline[shown:]:
                show.line(f"{entry.at - view.created_at:8.2f} s  {entry.event:<18} {entry.sentence}")
            shown = len(view.timeline)
            show.window(view.window_ends_at if not has_ended(view) else None)
            if until(view):
                break
    assert view is not None
    return view


class _Show(Protocol):
    def line(self, text: str) -> None: ...

    def progress(self, fields: Json) -> None: ...

    def window(self, ends_at: int | None) -> None: ...


class _Lines:
    """For logs and pipes: one line a step."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._doing = ""

    def line(self, text: str) -> None:
        self._write(text)

    def progress(self, fields: Json) -> None:
        if fields["doing"] != self._doing:
            self._doing = str(fields["doing"])
            self._write(self._doing)

    def window(self, ends_at: int | None) -> None:
        return


class _Bars:
    """For a terminal: lines scroll by above a bar for the step that takes time."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self._doing = ""
        self._done = 0
        self._total = 0
        self._window: tuple[float, int] | None = None

    def line(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def progress(self, fields: Json) -> None:
        self._doing = str(fields["doing"])
        self._done, self._total = int(fields["done_bytes"]), int(fields["total_bytes"])

    def window(self, ends_at: int | None) -> None:
        self._doing = ""
        if ends_at is None:
            self._window = None
        elif self._window is None or self._window[1] != ends_at:
            self._window = (time.time(), ends_at)

    def render(self) -> Any:
        """Drawn several times a second by a thread of the terminal library."""
        from rich.text import Text

        if self._doing:
            amount = f" {size(self._done)} of {size(self._total)}" if self._total else ""
            return self._bar(self._doing + amount, self._done, max(self._total, 1))
        if self._window is not None:
            start, end = self._window
            left = max(0.0, end - time.time())
            return self._bar(f"challenge window, {left:.0f} s left", time.time() - start, max(end - start, 0.1))
        return Text("")

    @staticmethod
    def _bar(label: str, done: float, total: float) -> Any:
        from rich.columns import Columns
        from rich.progress_bar import ProgressBar

        return Columns([ProgressBar(total=total, completed=min(done, total), width=30), label])


class _Terminal(AbstractContextManager[_Show]):
    def __enter__(self) -> _Show:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
        bars = _Bars(self._live)
        self._live.get_renderable = bars.render  # type: ignore[method-assign]
        self._live.start()
        return bars

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def _progress(quiet: bool) -> AbstractContextManager[_Show]:
    if quiet:
        return nullcontext(_Lines(lambda _: None))
    return _Terminal() if is_terminal() else nullcontext(_Lines(note))
