"""A line that is cut: packets vanish, and neither end is told."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_FIREWALL = shutil.which("iptables", path=os.environ["PATH"] + ":/usr/sbin:/sbin")


@contextmanager
def cut_off(*ports: int) -> Iterator[None]:
    """Drop what goes to or comes from these ports of this machine's loopback; needs root."""
    rules = [
        ["INPUT", "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP"]
        for port in ports
        for side in ("--dport", "--sport")
    ]
    assert _FIREWALL is not None, "install iptables"
    made: list[list[str]] = []
    try:
        for rule in rules:
            subprocess.run([_FIREWALL, "-w", "-I", *rule], check=True, capture_output=True)
            made.append(rule)
        yield
    finally:
        for rule in made:
            subprocess.run([_FIREWALL, "-w", "-D", *rule], check=True, capture_output=True)
