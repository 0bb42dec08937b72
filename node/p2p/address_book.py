"""Where peers can be dialled, kept over restarts in `peers.json`.

Bounded: at most `PEERS` peers with `ADDRESSES` addresses each, the least recently useful forgotten
first. The file is a cache: damaged or missing, it is started again.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from capanode.node.storage.whole_file import write_whole
from capanode.protocol.ids import PeerId

PEERS: Final = 256
ADDRESSES: Final = 4
_MAX_FILE_BYTES: Final = 1024 * 1024
_MAX_ADDRESS_CHARS: Final = 256


@dataclass(slots=True)
class AddressBook:
    """Addresses by peer, without the `/p2p/` part, most useful first."""

    _addresses: OrderedDict[PeerId, tuple[str, ...]] = field(default_factory=OrderedDict[PeerId, tuple[str, ...]])
    changed: bool = False

    def add(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Put addresses in front of what is known of `peer`, and `peer` in front of the others."""
        known = self._addresses.get(peer, ())
        merged = tuple(dict.fromkeys((*addresses, *known)))[:ADDRESSES]
        if merged and merged != known:
            self._addresses[peer] = merged
            self.changed = True
        if peer in self._addresses:
            self._addresses.move_to_end(peer)
        if len(self._addresses) > PEERS:
            self._addresses.popitem(last=False)

    def of(self, peer: PeerId) -> tuple[str, ...]:
        """What is known of `peer`; empty if nothing."""
        return self._addresses.get(peer, ())

    def peers(self) -> tuple[PeerId, ...]:
        """Known peers, most recently useful first."""
        return tuple(reversed(self._addresses))

    def dump(self) -> bytes:
        """The file's content."""
        self.changed = False
        return json.dumps({"peers": list(self._addresses.items())}).encode()


def load(path: Path) -> AddressBook:
    """Read the file; an empty book when it is missing or damaged."""
    book = AddressBook()
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return book
        for peer, addresses in json.loads(path.read_bytes())["peers"]:
            book.add(PeerId(str(peer)), [str(a) for a in addresses if len(str(a)) <= _MAX_ADDRESS_CHARS])
    except (OSError, ValueError, TypeError, KeyError):
        return AddressBook()
    book.changed = False
    return book


def save(path: Path, content: bytes) -> None:
    """Replace the file atomically."""
    write_whole("addresses.write", path, content)
