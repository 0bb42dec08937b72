"""Which shared libraries a program needs, read from the files themselves; nothing is executed.

**Source**: elf(5), ld.so(8).
"""

import re
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capanode.protocol.faults import Misconfigured

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
_CACHE_LINE: Final = re.compile(r"\s*(\S+) \((?:libc6,x86-64|libc6,AArch64)[^)]*\) => (\S+)")


@dataclass(frozen=True, slots=True)
class Elf:
    """What a 64-bit little-endian ELF file asks of the loader."""

    interpreter: str | None
    needed: tuple[str, ...]
    search: tuple[str, ...]


def read_elf(file: Path) -> Elf | None:
    """Read a file's dynamic section; None when it is no 64-bit ELF file."""
    with file.open("rb") as opened:
        if opened.read(6) != b"\x7fELF\x02\x01":
            return None
    data = file.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    interpreter = next((data[h[2] : h[2] + h[5]].rstrip(b"\0").decode() for h in headers if h[0] == _PT_INTERP), None)
    dynamic = next((data[h[2] : h[2] + h[5]] for h in headers if h[0] == _PT_DYNAMIC), b"")
    tags = list(struct.iter_unpack("<QQ", dynamic[: len(dynamic) // 16 * 16]))
    strings = next((value for tag, value in tags if tag == _DT_STRTAB), 0)
    base = next((strings - h[3] + h[2] for h in headers if h[0] == _PT_LOAD and h[3] <= strings < h[3] + h[5]), 0)

    def text(offset: int) -> str:
        start = base + offset
        return data[start : data.index(b"\0", start)].decode()

    needed = tuple(text(value) for tag, value in tags if tag == _DT_NEEDED)
    paths = [text(value) for tag, value in tags if tag in (_DT_RPATH, _DT_RUNPATH)]
    search = tuple(part for path in paths for part in path.split(":") if part)
    return Elf(interpreter, needed, search)


def closure(files: Iterable[Path]) -> dict[str, Path]:
    """Every library that these files need, directly or not: soname → file on this machine.

    Libraries that are among `files` themselves are left out, since they keep their place beside the
    file that needs them. Raises Misconfigured for a library that this machine lacks.
    """
    cache = _loader_cache()
    found: dict[str, Path] = {}
    waiting = [file.resolve() for file in files]
    travelling = frozenset(waiting)
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        elf = None if file in seen else read_elf(file)
        seen.add(file)
        for name in elf.needed if elf else ():
            near = _near(file, name, elf.search if elf else ())
            library = near or cache.get(name)
            if library is None:
                raise Misconfigured(f"{file.name} needs the library {name}, which this machine lacks")
            if library.resolve() not in travelling:
                found[name] = library
            waiting.append(library.resolve())
    return found


def _near(file: Path, name: str, search: tuple[str, ...]) -> Path | None:
    for folder in search:
        candidate = Path(folder.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", str(file.parent))) / name
        if candidate.exists():
            return candidate
    return None


def _loader_cache() -> dict[str, Path]:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True, timeout=30)
    matches = (_CACHE_LINE.match(line) for line in listed.stdout.splitlines())
    cache: dict[str, Path] = {}
    for match in matches:
        if match:
            cache.setdefault(match[1], Path(match[2]))
    return cache
