"""The idle container that keeps a slot's empty network namespace, and the image that it needs.

Joining a namespace that exists spares the engine half of a container's start. The image is one
file, made here, so that a node needs nothing from a registry: a program that only waits.
"""

import io
import struct
import tarfile
from pathlib import Path
from typing import Final

from capanode.node.images.archive import machine_architecture, write_archive
from capanode.node.images.reference import ImageId
from capanode.protocol.faults import Misconfigured

_LOAD_AT: Final = 0x400000
_HEADERS: Final = 64 + 56

# for (;;) pause();  and  for (;;) ppoll(NULL, 0, NULL, NULL);
_X86_64: Final = bytes.fromhex("b822000000 0f05 ebf7".replace(" ", ""))
_AARCH64: Final = struct.pack("<7I", 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA)
_PROGRAMS: Final = {"amd64": (62, _X86_64), "arm64": (183, _AARCH64)}


def write_holder_image(folder: Path) -> tuple[Path, ImageId]:
    """Write the holder's image archive into `folder`; the same bytes and id on each machine of a kind."""
    root, archive = folder / "holder-root.tar", folder / "holder.tar"
    with tarfile.open(root, "w", format=tarfile.GNU_FORMAT) as tar:
        program = _waiting_program()
        info = tarfile.TarInfo("pause")
        info.size, info.mode = len(program), 0o755
        tar.addfile(info, io.BytesIO(program))
    return archive, write_archive(root, {"Entrypoint": ["/pause"]}, archive)


def _waiting_program() -> bytes:
    """A static ELF executable of one loadable segment. **Source**: elf(5)."""
    architecture = machine_architecture()
    if architecture not in _PROGRAMS:
        raise Misconfigured(f"capanode cannot run jobs on {architecture}; use an x86-64 or 64-bit Arm machine")
    machine, code = _PROGRAMS[architecture]
    size = _HEADERS + len(code)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _LOAD_AT + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_AT, _LOAD_AT, size, size, 0x10000)
    return header + segment + code
