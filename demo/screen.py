"""What the demo shows: one line for each thing that happens, bars for the open windows, and the money at the end."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from capanode.node.api.port import JobView, TimelineEntry
from capanode.node.units import tokens

COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue")


@dataclass
class Screen(AbstractContextManager["Screen"]):
    """Lines scroll by; while a challenge window is open, its bar stands below them."""

    started_at: float = field(default_factory=time.monotonic)
    windows: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    names: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def step(self, sentence: str) -> None:
        """A step of the set-up, or of the end."""
        self._line("", sentence, "dim")

    def happened(self, job: str, entry: TimelineEntry) -> None:
        """Something in the life of a job."""
        self._line(job, f"{entry.event:<16} {self.named(entry.sentence)}", self._colour(job))

    def window(self, view: JobView) -> None:
        """Show, or take away, the bar of a job's challenge window."""
        if view.window_ends_at is None or view.state in ("paid", "undecided", "refunded", "failed", "cancelled"):
            self.windows.pop(view.name, None)
        elif view.name not in self.windows:
            self.windows[view.name] = (time.time(), float(view.window_ends_at))

    def named(self, sentence: str) -> str:
        """The sentence, with wallets by the names of their owners."""
        for address, name in self.names.items():
            sentence = sentence.replace(f"{address[:10]}…", name).replace(address, name)
        return sentence

    def money(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Who had what before and after."""
        table = Table(title="tokens, wherever they are (wallet, escrow, stake, locks)")
        for column in ("party", "before", "after", "difference"):
            table.add_column(column, justify="left" if column == "party" else "right")
        for name, amount in before.items():
            change = after[name] - amount
            table.add_row(name, tokens(amount), tokens(after[name]), ("+" if change > 0 else "") + tokens(change))
        self._console.print(table)

    def end(self, rows: Sequence[tuple[str, str]]) -> None:
        """The result in a few lines."""
        for name, value in rows:
            self._console.print(Text(f"{name:<18} {value}"))

    def _line(self, job: str, text: str, style: str) -> None:
        at = time.monotonic() - self.started_at
        self._console.print(Text(f"{at:6.2f} s  {job:<7} {text}", style=style), soft_wrap=True)

    def _colour(self, job: str) -> str:
        return COLOURS[sum(job.encode()) % len(COLOURS)]

    def _render(self) -> RenderableType:
        rows: list[RenderableType] = []
        for name, (start, end) in self.windows.items():
            now = time.time()
            grid = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=max(end - start, 0.1), completed=min(now, end) - start, width=40)
            grid.add_row(f"          {name:<7} challenge window", bar, f"{max(0.0, end - now):.0f} s left")
            rows.append(grid)
        return Group(*rows)
