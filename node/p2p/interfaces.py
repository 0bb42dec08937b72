"""The addresses at which others can dial a node that listens on all interfaces."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

import psutil

from capanode.node.p2p.library_types import Multiaddr

_MOST: Final = 8
_UNSPECIFIED: Final = ("/ip4/0.0.0.0/", "/ip6/::/")


def dialable(addresses: Sequence[Multiaddr]) -> list[Multiaddr]:
    """The addresses with `0.0.0.0` and `::` replaced by those of the interfaces.

    Public ones first. Loopback only if there is nothing else; link-local never, because it means nothing
    without an interface.
    """
    found: list[str] = []
    for address in map(str, addresses):
        prefix = next((prefix for prefix in _UNSPECIFIED if address.startswith(prefix)), None)
        if prefix is None:
            found.append(address)
        else:
            family, rest = prefix[1:4], address[len(prefix) :]
            found += [f"/{family}/{ip}/{rest}" for ip in _own_ips(4 if family == "ip4" else 6)]
    return [Multiaddr(address) for address in dict.fromkeys(found)][:_MOST]


def _own_ips(version: int) -> list[str]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    ips = [
        ipaddress.ip_address(entry.address)
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == family and "%" not in entry.address
    ]
    usable = [ip for ip in ips if not ip.is_loopback and not ip.is_link_local]
    return [str(ip) for ip in sorted(usable or ips, key=lambda ip: not ip.is_global)]
