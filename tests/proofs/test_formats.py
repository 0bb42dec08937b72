"""Readers of hostile files: what is read, and that everything else is refused within bounds."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from capanode.proofs import compare
from capanode.proofs.formats import csv_text, json_text, npy, npz, png, raw_floats
from capanode.proofs.formats.contents import MAX_TEXT_BYTES, Array, Unreadable
from capanode.protocol.comparator import Format

KINDS = [*("|b1", "|i1", "|u1", "<i4", ">i8", "<u2"), *("<f2", "<f4", ">f4", "<f8", "<c8", "<c16")]
DTYPES = st.sampled_from([np.dtype(kind) for kind in KINDS])


def npy_bytes(array: Array, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz_bytes(**found: Array) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **found)
    return stream.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    data = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data + body


@given(DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))))
def test_npy_is_read_as_numpy_wrote_it(array: Array) -> None:
    ((_, found),) = npy.read(npy_bytes(array)).arrays
    assert (found.dtype.str, found.shape) == (array.dtype.str, array.shape)
    assert found.tobytes() == array.tobytes()


def test_memory_order_is_part_of_the_frame() -> None:
    array = np.arange(6.0).reshape(2, 3)
    plain, turned = npy.read(npy_bytes(array)), npy.read(npy_bytes(np.asfortranarray(array)))
    assert plain.frame != turned.frame
    assert np.array_equal(plain.arrays[0][1], turned.arrays[0][1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x04\x00\x00\x00",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100,
        npy_bytes(np.array([{}], dtype=object), allow_pickle=True),
        npy_bytes(np.array(["text"])),
        npy_bytes(np.array([b"text"])),
        npy_bytes(np.zeros(2, dtype=[("a", "<f4")])),
        npy_bytes(np.array(["2026-01-01"], dtype="datetime64[s]")),
        npy_bytes(np.zeros(2, dtype=np.longdouble)),
        npy_bytes(np.zeros(3))[:-1],
        npy_bytes(np.zeros(3)) + b"\0",
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 999999999999999), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "0, " * 40 + "), }\n"),
        header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (), }\n", b"x" * 8),
        header("(" * 3000 + "\n"),
    ],
)
def test_npy_that_is_no_plain_array_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        npy.read(data)


def test_npz_is_read_by_name() -> None:
    found = npz.read(npz_bytes(b=np.ones(2, "<f4"), a=np.zeros((1, 3))))
    assert [(name, array.shape) for name, array in found.arrays] == [("a.npy", (1, 3)), ("b.npy", (2,))]


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def lying(true_size: int, stated: int) -> bytes:
    """An archive whose member unfolds to another size than it states."""
    data = zipped(("a.npy", bytes(true_size)))
    return data.replace(struct.pack("<I", true_size), struct.pack("<I", stated))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: b"PK",
        lambda: zipped(("a.npy", b"no array")),
        lambda: zipped(("a.npy", npy_bytes(np.zeros(1))), ("a.npy", npy_bytes(np.ones(1)))),
        lambda: zipped(("a.npy", npy_bytes(np.zeros(1))), method=zipfile.ZIP_LZMA),
        lambda: zipped(*((f"{i}.npy", npy_bytes(np.zeros(1))) for i in range(npz.MAX_MEMBERS + 1))),
        lambda: lying(1_000_003, 77),
        lambda: lying(1_000_003, 2**31),
        lambda: npz_bytes(a=np.zeros(1000))[:-30],
    ],
)
def test_archive_that_is_not_one_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(Unreadable):
        npz.read(make())


def test_zip_bomb_is_refused_before_it_unfolds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_FILE_BYTES", 10_000)
    bomb = zipped(*((f"{i}.npy", npy_bytes(np.zeros(500))) for i in range(4)))
    assert len(bomb) < 2000
    with pytest.raises(Unreadable, match="unfolds"):
        npz.read(bomb)


def test_json_numbers_are_values_and_the_rest_is_frame() -> None:
    one = json_text.read(b'{"loss": 0.5, "steps": 3, "tags": ["a", null], "odd": NaN}')
    two = json_text.read(b'{"steps": 3, "tags": ["a", null], "odd": NaN, "loss": 0.25}')
    assert one.frame == two.frame
    assert one.arrays[0][1].tolist()[0] == 0.5
    assert json_text.read(b'{"steps": 4}').frame != json_text.read(b'{"steps": 3}').frame
    assert json_text.read(b"[1]").frame != json_text.read(b"[1.0]").frame


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"{", b"[" * 100_000, b"[" * 80 + b"]" * 80, b'{"a": 1, "a": 2}', b"1" * 5000, b"0." + b"1" * 5000],
)
def test_json_that_is_hostile_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        json_text.read(data)


def test_csv_cells_with_a_point_are_values() -> None:
    found = csv_text.read(b"name,score\nx,0.5\ny,1e-3\nz,7\n")
    assert found.arrays[0][1].tolist() == [0.5, 0.001]
    assert found.frame[-3:] == ("row of 2", "=z", "=7")


@pytest.mark.parametrize("data", [b"\xff", b'"open', b"x" * (MAX_TEXT_BYTES + 1), b"a" * 200_000])
def test_csv_that_is_hostile_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        csv_text.read(data)


def test_raw_floats_fill_their_file() -> None:
    assert raw_floats.read(np.array([1, 2], "<f4").tobytes(), 4).arrays[0][1].tolist() == [1, 2]
    with pytest.raises(Unreadable):
        raw_floats.read(b"12345", 4)


# ---- pictures --------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(head: bytes, pixels: bytes, *extra: bytes) -> bytes:
    parts = chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def written(samples: Array, filters: list[int]) -> bytes:
    """A PNG of the samples, each row filtered the plain way by the formulas of the standard."""
    height, _, channels = samples.shape
    step = channels * samples.dtype.itemsize
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8).tolist()
    out = bytearray()
    above = [0] * len(rows[0])
    for kind, row in zip(filters, rows, strict=True):
        out.append(kind)
        for i, value in enumerate(row):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            guess = left + above[i] - corner
            nearest = min((left, above[i], corner), key=lambda x: abs(guess - x))
            out.append((value - (0, left, above[i], (left + above[i]) // 2, nearest)[kind]) % 256)
        above = row
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return picture(
        struct.pack(">IIBBBBB", samples.shape[1], height, 8 * samples.dtype.itemsize, colour, 0, 0, 0), bytes(out)
    )


@given(st.data())
def test_png_is_read_under_every_filter(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)))
    samples = data.draw(arrays.arrays(dtype, shape))
    filters = data.draw(st.lists(st.integers(0, 4), min_size=shape[0], max_size=shape[0]))
    ((_, found),) = png.read(written(samples, filters)).arrays
    assert np.array_equal(found, samples)


GREY = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
ROWS = b"\0\1\2\0\3\4"


def test_notes_in_a_picture_do_not_count() -> None:
    assert png.read(picture(GREY, ROWS, chunk(b"tIME", bytes(7)))).arrays[0][1].tolist() == [[[1], [2]], [[3], [4]]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        picture(GREY, ROWS)[:-4],
        picture(GREY, ROWS) + b"more",
        picture(GREY, ROWS).replace(b"IDAT", b"IDAX"),
        picture(GREY, ROWS[:-1]),
        picture(GREY, ROWS + bytes(10_000_000)),
        picture(GREY, b"\5" + ROWS[1:]),
        picture(struct.pack(">IIBBBBB", 2**14, 2**14, 8, 6, 0, 0, 0), b""),
        picture(struct.pack(">IIBBBBB", 0, 2, 8, 0, 0, 0, 0), b""),
        picture(struct.pack(">IIBBBBB", 2, 2, 8, 3, 0, 0, 0), ROWS),
        picture(struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1), ROWS),
        picture(GREY, ROWS, chunk(b"PLTE", bytes(3))),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
    ],
)
def test_picture_that_is_hostile_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        png.read(data)


@given(
    st.sampled_from(Format), st.binary(max_size=400), st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"["])
)
def test_no_bytes_crash_a_reader(format_: Format, data: bytes, begin: bytes) -> None:
    try:
        compare.contents(begin + data, format_)
    except Unreadable:
        return


@given(st.sampled_from(["npy", "npz", "json", "png"]), st.data())
def test_no_damage_crashes_a_reader(name: str, data: st.DataObject) -> None:
    whole = {
        "npy": npy_bytes(np.arange(5.0)),
        "npz": npz_bytes(a=np.arange(5.0), b=np.ones(3)),
        "json": json.dumps({"a": [1.5, None, "x"]}).encode(),
        "png": picture(GREY, ROWS),
    }[name]
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    try:
        compare.contents(damaged, Format(name))
    except Unreadable:
        return
