"""An image made of the Python interpreter that runs this, its standard library and chosen packages.

Nothing is downloaded or executed: the files are read from this machine, placed under fixed paths with
fixed times and owners, so the same interpreter and packages give the same image id every time.
"""

import importlib.metadata
import importlib.util
import io
import marshal
import os
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from capanode.node.images.archive import write_archive
from capanode.node.images.elf import closure, read_elf
from capanode.node.images.reference import ImageId
from capanode.protocol.faults import Misconfigured

_PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
_STDLIB: Final = PurePosixPath("/usr/local/lib") / _PYTHON
_PACKAGES: Final = PurePosixPath("/opt/packages")
_PROGRAM: Final = PurePosixPath("/usr/local/bin/python3")
_LEFT_OUT: Final = frozenset({
    "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data",
    "site-packages", "dist-packages", "__pycache__", "venv", "distutils",
})  # fmt: skip
_LEFT_OUT_SUFFIXES: Final = (".a", ".pyc", ".exe", ".h", ".pyi", ".c", ".pxd", ".lib")
_LEFT_OUT_PREFIXES: Final = ("_tkinter.", "_test", "xxlimited")
_ACCOUNTS: Final = b"root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n"
_GROUPS: Final = b"root:x:0:\nnogroup:x:65534:\n"

Content = Path | bytes


def pack_python(
    target: Path, packages: Sequence[str] = ("numpy",), report: Callable[[str], None] = lambda _: None
) -> ImageId:
    """Write the image archive to `target`; the id to run it by. Takes two to five seconds; blocking.

    The image's entrypoint is the interpreter. Raises Misconfigured when a package is not installed.
    """
    report("collecting the interpreter and its libraries")
    files = _collect(packages)
    root = target.with_name(target.name + ".root")
    try:
        report(f"packing {len(files)} files")
        _write_root(files, root)
        report("writing the archive")
        return write_archive(root, _config(), target)
    finally:
        root.unlink(missing_ok=True)


def _config() -> dict[str, object]:
    environment = {
        "PATH": "/usr/local/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(_PACKAGES),
        "PYTHONUNBUFFERED": "1",
    }
    return {
        "Entrypoint": [str(_PROGRAM)],
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "WorkingDir": "/",
    }


def _collect(packages: Sequence[str]) -> dict[PurePosixPath, Content]:
    program = Path(os.path.realpath(sys.executable))
    files: dict[PurePosixPath, Content] = {
        _PROGRAM: program,
        PurePosixPath("/etc/passwd"): _ACCOUNTS,
        PurePosixPath("/etc/group"): _GROUPS,
    }
    files |= _tree(Path(sysconfig.get_path("stdlib")), _STDLIB)
    files |= _extensions()
    for package in packages:
        files |= _package(package)
    files |= _libraries([one for one in files.values() if isinstance(one, Path)], program)
    return files | _compiled(files)


def _tree(folder: Path, target: PurePosixPath) -> Iterator[tuple[PurePosixPath, Content]]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("config-"))
        for name in names:
            if not name.endswith(_LEFT_OUT_SUFFIXES) and not name.startswith(_LEFT_OUT_PREFIXES):
                source = Path(here) / name
                yield target / source.relative_to(folder).as_posix(), source


def _extensions() -> dict[PurePosixPath, Content]:
    """The standard library's compiled modules, wherever the distribution keeps them."""
    folder = Path(sysconfig.get_config_var("DESTSHARED") or Path(sysconfig.get_path("stdlib")) / "lib-dynload")
    return dict(_tree(folder, _STDLIB / "lib-dynload"))


def _package(name: str) -> dict[PurePosixPath, Content]:
    try:
        recorded = importlib.metadata.files(name)
    except importlib.metadata.PackageNotFoundError:
        raise Misconfigured(f"the package {name} is not installed; run `pip install {name}`") from None
    files: dict[PurePosixPath, Content] = {}
    for entry in recorded or ():
        parts = PurePosixPath(entry).parts
        if ".." in parts or _LEFT_OUT & set(parts) or entry.name.endswith(_LEFT_OUT_SUFFIXES):
            continue
        # What the installer writes beside the package (who installed it, from where) differs per machine.
        if parts[0].endswith(".dist-info") and entry.name not in ("METADATA", "WHEEL", "LICENSE.txt"):
            continue
        files[_PACKAGES / entry] = Path(str(entry.locate()))
    return files


def _libraries(sources: Sequence[Path], program: Path) -> dict[PurePosixPath, Content]:
    programs = [one for one in sources if one == program or ".so" in one.name]
    needed = closure(programs)
    elf = read_elf(program)
    if elf is None or elf.interpreter is None or "libc.so.6" not in needed:
        raise Misconfigured("this Python is not a dynamic Linux program with glibc; use your distribution's python3")
    # glibc's own folder is one that its loader searches without being told.
    folder = PurePosixPath(needed["libc.so.6"].parent)
    files: dict[PurePosixPath, Content] = {folder / name: path for name, path in needed.items()}
    return files | {PurePosixPath(elf.interpreter): Path(elf.interpreter)}


def _compiled(files: dict[PurePosixPath, Content]) -> dict[PurePosixPath, Content]:
    """Bytecode that is valid whatever the source's time is; without it each start would compile.

    **Source**: PEP 552, unchecked hash-based pycs.
    """
    compiled: dict[PurePosixPath, Content] = {}
    for target, source in files.items():
        if target.suffix != ".py" or not isinstance(source, Path):
            continue
        text = source.read_bytes()
        try:
            code = compile(text, str(target), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue  # templates and samples that are not meant to be imported
        header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(text)
        name = f"{target.stem}.{sys.implementation.cache_tag}.pyc"
        compiled[target.parent / "__pycache__" / name] = header + marshal.dumps(code)
    return compiled


def _write_root(files: dict[PurePosixPath, Content], root: Path) -> None:
    folders = {parent for path in files for parent in path.parents} | {
        PurePosixPath(one) for one in ("/in", "/out", "/tmp", "/proc", "/dev", "/sys")
    }
    with tarfile.open(root, "w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted(folders - {PurePosixPath("/")}):
            info = tarfile.TarInfo(str(folder).lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder.name == "tmp" else 0o755
            tar.addfile(info)
        for path, content in sorted(files.items(), key=lambda item: item[0]):
            data = content if isinstance(content, bytes) else content.read_bytes()
            info = tarfile.TarInfo(str(path).lstrip("/"))
            info.size, info.mode = len(data), 0o755 if _is_program(path) else 0o644
            tar.addfile(info, io.BytesIO(data))


def _is_program(path: PurePosixPath) -> bool:
    return path == _PROGRAM or ".so" in path.name
