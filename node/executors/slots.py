"""The slots that jobs run in: each has one network holder, and one job at a time joins it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from capanode.node.executors.asking import Threads
from capanode.node.executors.docker_engine import Engine, NoSuchThing
from capanode.node.executors.holder import write_holder_image
from capanode.node.executors.sandbox import HOLDER_LABEL, NODE_LABEL, SLOT_LABEL, holder_body
from capanode.node.fault_points import durable
from capanode.node.images.archive import check_archive, loadable


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot and the id of the container whose network namespace its job joins."""

    number: int
    holder: str


class Slots:
    """Hands out slots; makes more when all are taken, since the scheduler bounds how many jobs run."""

    def __init__(self, engine: Engine, threads: Threads, node: str, folder: Path) -> None:
        self._engine = engine
        self._threads = threads
        self._node = node
        self._folder = folder
        self._holders: dict[int, str] = {}
        self._busy: set[int] = set()
        self._making: set[int] = set()
        self._image: str | None = None

    async def warm(self, count: int, busy: Mapping[int, str]) -> None:
        """Adopt the holders that still run, then make those missing for `count` slots.

        `busy` names the slots, and their holders, in which jobs of an earlier process still run.
        """
        self._holders |= busy
        self._busy |= set(busy)
        running = await self._threads.ask(self._running_holders)
        for number, holder in tuple(self._holders.items()):
            if holder not in running.values() and number not in self._busy:
                del self._holders[number]  # it went with its engine, or someone removed it
        for number, holder in running.items():
            self._holders.setdefault(number, holder)
        for number in range(count):
            if number not in self._holders and number not in self._making:
                await self._make(number)

    async def take(self) -> Slot:
        """A slot that no job is in; raises Unavailable or EngineRefused when none can be made."""
        free = sorted(set(self._holders) - self._busy)
        number = free[0] if free else self._next_number()
        self._busy.add(number)
        try:
            return Slot(number, self._holders.get(number) or await self._make(number))
        except BaseException:
            self._busy.discard(number)
            raise

    def occupy(self, slot: Slot) -> None:
        """Mark the slot of an adopted job as taken."""
        self._holders[slot.number] = slot.holder
        self._busy.add(slot.number)

    def give_back(self, slot: Slot) -> None:
        """The job has ended and the slot may serve another one; idempotent."""
        self._busy.discard(slot.number)

    async def renew(self, slot: Slot) -> Slot:
        """Replace a holder that has gone."""
        with durable("holder.renew"):
            await self._threads.ask(self._engine.remove, slot.holder)
        return Slot(slot.number, await self._make(slot.number))

    async def close(self) -> None:
        """Remove the holders that no job has joined."""
        for number in set(self._holders) - self._busy:
            with durable("holder.remove"):
                await self._threads.ask(self._engine.remove, self._holders.pop(number))

    def holders(self) -> frozenset[str]:
        """Ids of the holders in use."""
        return frozenset(self._holders.values())

    def being_made(self) -> frozenset[int]:
        """Slots whose holder is on its way."""
        return frozenset(self._making)

    def _next_number(self) -> int:
        return next(n for n in range(10_000) if n not in self._holders and n not in self._making)

    async def _make(self, number: int) -> str:
        self._making.add(number)
        try:
            holder = await self._threads.ask(self._start_holder, number)
        finally:
            self._making.discard(number)
        self._holders[number] = holder
        return holder

    def _start_holder(self, number: int) -> str:
        name = f"capanode-{self._node}-slot-{number}"
        image = self._holder_image()
        with durable("holder.create"):
            self._engine.remove(name)
            holder = self._engine.create(holder_body(self._node, number, image), name)
        with durable("holder.start"):
            self._engine.start(holder)
        return holder

    def _holder_image(self) -> str:
        if self._image is None:
            self._image = load_holder_image(self._engine, self._folder)
        return self._image

    def _running_holders(self) -> dict[int, str]:
        rows = self._engine.labelled({NODE_LABEL: self._node, HOLDER_LABEL: "network"})
        return {
            int(labels[SLOT_LABEL]): container
            for container, labels in rows
            if labels.get(SLOT_LABEL, "").isdigit() and self._engine.inspect(container).running
        }


def load_holder_image(engine: Engine, folder: Path) -> str:
    """Bring the holder's image onto the engine unless it is there; the name to run it by."""
    archive, image = write_holder_image(folder)
    name = f"capanode-holder:{image.removeprefix('sha256:')[:12]}"
    try:
        engine.image(name)
    except NoSuchThing:
        with durable("holder.image"):
            engine.load(loadable(check_archive(archive, image), name))
    return name
