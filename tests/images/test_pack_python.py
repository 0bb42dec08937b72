"""The image made of this machine's Python."""

import tarfile
from pathlib import Path

import pytest

from capanode.node.images.archive import check_archive
from capanode.node.images.elf import closure, read_elf
from capanode.node.images.pack_python import pack_python
from capanode.protocol.faults import Misconfigured


def test_packing_twice_gives_the_same_image_without_a_trace_of_this_machine(tmp_path: Path) -> None:
    first = pack_python(tmp_path / "one.tar", packages=())
    second = pack_python(tmp_path / "two.tar", packages=())

    assert first == second
    checked = check_archive(tmp_path / "one.tar", first)
    with (tmp_path / "one.tar").open("rb") as file:
        file.seek(checked.layers[0].offset)
        with tarfile.open(fileobj=file, mode="r|") as layer:
            entries = list(layer)
    assert entries
    assert {(one.mtime, one.uid, one.gid, one.uname) for one in entries} == {(0, 0, 0, "")}
    tops = {one.name.partition("/")[0] for one in entries}
    assert tops <= {"usr", "lib", "lib64", "etc", "in", "out", "tmp", "proc", "dev", "sys"}


def test_a_package_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="not installed"):
        pack_python(tmp_path / "x.tar", packages=("no-such-package-at-all",))


def test_libraries_are_found_without_running_anything() -> None:
    shell = Path("/bin/sh").resolve()

    elf = read_elf(shell)

    assert elf is not None
    assert elf.interpreter is not None
    assert "libc.so.6" in elf.needed
    assert closure([shell])["libc.so.6"].exists()
    assert read_elf(Path(__file__)) is None
