"""A container image of two megabytes: this machine's shell, `sleep`, and the libraries that they need."""

import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from capanode.node.images.archive import write_archive
from capanode.node.images.elf import closure, read_elf
from capanode.node.images.reference import ImageId

PROGRAMS: Final = ("sh", "sleep")
FOLDERS: Final = ("in", "out", "tmp", "proc", "dev", "sys")


def write_shell_image(target: Path, *env: str) -> ImageId:
    """Write the image's archive; its command is given to `sh`. The same machine and `env` give the same id."""
    root = target.with_name(target.name + ".root")
    try:
        _write_root(root)
        config = {"Entrypoint": ["/bin/sh", "-c"], "Env": ["PATH=/bin", *env], "WorkingDir": "/"}
        return write_archive(root, config, target)
    finally:
        root.unlink(missing_ok=True)


def _write_root(root: Path) -> None:
    programs = {f"/bin/{name}": Path(f"/bin/{name}").resolve() for name in PROGRAMS}
    libraries = closure(programs.values())
    beside_libc = PurePosixPath(libraries["libc.so.6"].parent)
    files = programs | {str(beside_libc / name): path for name, path in libraries.items()}
    for program in programs.values():
        elf = read_elf(program)
        if elf is not None and elf.interpreter is not None:
            files[elf.interpreter] = Path(elf.interpreter)
    folders = {parent for file in files for parent in PurePosixPath(file).parents} | {
        PurePosixPath("/") / name for name in FOLDERS
    }
    with tarfile.open(root, "w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted(folders - {PurePosixPath("/")}):
            info = tarfile.TarInfo(str(folder).lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, 0o777 if folder.name in ("out", "tmp") else 0o755
            tar.addfile(info)
        for name, source in sorted(files.items()):
            data = source.read_bytes()
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
