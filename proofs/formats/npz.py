"""NumPy's archive of arrays: a zip file, unfolded only as far as its members' stated sizes are within the bound."""

import zipfile
import zlib
from io import BytesIO
from typing import Final

from capanode.proofs.formats import npy
from capanode.proofs.formats.contents import MAX_FILE_BYTES, Contents, Unreadable

MAX_MEMBERS: Final = 1024
_ENCRYPTED: Final = 0x1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises for archives that are not as they should be; it documents only the first.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    IndexError,
    OSError,
    OverflowError,
)


def read(data: bytes) -> Contents:
    """The arrays of an npz file, by name; times and what else a zip tells of its members do not count.

    Raises:
        Unreadable: no such file, too many or too large members, a name twice, or a member that is no plain array.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = _members(archive)
            found = [(member.filename, npy.parse(memoryview(_unfolded(archive, member)))) for member in members]
    except _BROKEN as error:
        raise Unreadable(f"it is no npz file ({type(error).__name__})") from error
    return Contents(
        tuple((name, array) for name, (array, _) in found),
        tuple(f"{name} {order}" for name, (_, order) in found),
    )


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = sorted(archive.infolist(), key=lambda member: member.filename)
    names = [member.filename for member in members]
    if len(members) > MAX_MEMBERS or len(set(names)) != len(names):
        raise Unreadable("it has too many members, or one of them twice")
    if sum(member.file_size for member in members) > MAX_FILE_BYTES:
        raise Unreadable("it unfolds to more than is read")
    if any(member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS for member in members):
        raise Unreadable("one of its members is encrypted, or packed in a way that is not read")
    return members


def _unfolded(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # zipfile gives out no more than the stated size, which is within the bound, and checks the sum at the end.
    with archive.open(member) as stream:
        data = stream.read(member.file_size)
        if len(data) != member.file_size or stream.read(1):
            raise Unreadable("one of its members is not as long as it says")
    return data
