"""Image archives from strangers: what is accepted, and every trick that is not."""

import gzip
import hashlib
import random
import tarfile
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.images.archive import ImageLimits, check_archive, loadable, machine_architecture, write_archive
from capanode.node.images.reference import ImageRejected, archived_image, image_id, registry_image
from capanode.protocol.ids import Cid
from tests.images.layers import archive_of, config_of, entry, tar_of

ZEROS = "sha256:" + "0" * 64
GOOD_LAYER = tar_of(
    entry("a", b"hello"), entry("folder", kind=tarfile.DIRTYPE), entry("l", kind=tarfile.SYMTYPE, link="/a")
)


def test_the_id_of_an_image_depends_on_its_content_alone(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(GOOD_LAYER)
    first = write_archive(tmp_path / "root.tar", {"Cmd": ["/a"]}, tmp_path / "one.tar")
    second = write_archive(tmp_path / "root.tar", {"Cmd": ["/a"]}, tmp_path / "two.tar")
    other = write_archive(tmp_path / "root.tar", {"Cmd": ["/b"]}, tmp_path / "three.tar")

    assert first == second != other
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_what_we_write_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(GOOD_LAYER)
    expected = write_archive(tmp_path / "root.tar", {}, tmp_path / "image.tar")

    checked = check_archive(tmp_path / "image.tar", expected)

    assert (checked.image_id, checked.unpacked_bytes) == (expected, len(GOOD_LAYER))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_stranger_s_archive_is_rewritten_without_its_names(tmp_path: Path, pack: "type[bytes]") -> None:
    config = config_of([GOOD_LAYER])
    path = archive_of(tmp_path / "image.tar", config, [pack(GOOD_LAYER)])

    checked = check_archive(path, None)
    (tmp_path / "again.tar").write_bytes(b"".join(loadable(checked, "ours:tag")))

    again = check_archive(tmp_path / "again.tar", checked.image_id)
    assert again.layers[0].diff_id == checked.layers[0].diff_id
    with tarfile.open(tmp_path / "again.tar") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert orjson.loads(manifest.read())[0]["RepoTags"] == ["ours:tag"]


def test_another_image_than_the_job_says_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "image.tar", config_of([GOOD_LAYER]), [GOOD_LAYER])

    with pytest.raises(ImageRejected, match="not sha256:0000"):
        check_archive(path, image_id("sha256:" + "0" * 64))


def test_a_changed_layer_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "image.tar", config_of([GOOD_LAYER]), [tar_of(entry("a", b"hullo"))])

    with pytest.raises(ImageRejected, match="its config says"):
        check_archive(path, None)


HOSTILE_LAYERS = {
    "a device": [entry("disk", kind=tarfile.BLKTYPE)],
    "a character device": [entry("null", kind=tarfile.CHRTYPE)],
    "a name that climbs": [entry("../../etc/cron.d/x", b"x")],
    "a hard link that climbs": [entry("x", kind=tarfile.LNKTYPE, link="../../etc/shadow")],
    "a name that climbs in the middle": [entry("a/../../b", b"x")],
}


@pytest.mark.parametrize("what", HOSTILE_LAYERS)
def test_hostile_layers_are_refused(tmp_path: Path, what: str) -> None:
    layer = tar_of(*HOSTILE_LAYERS[what])
    path = archive_of(tmp_path / "image.tar", config_of([layer]), [layer])

    with pytest.raises(ImageRejected):
        check_archive(path, None)


def test_bounds_on_size_and_count(tmp_path: Path) -> None:
    layer = tar_of(*(entry(str(number), b"x" * 1000) for number in range(50)))
    path = archive_of(tmp_path / "image.tar", config_of([layer]), [layer])

    check_archive(path, None, ImageLimits(unpacked_bytes=len(layer), files=50))
    with pytest.raises(ImageRejected, match="unpacks to more"):
        check_archive(path, None, ImageLimits(unpacked_bytes=10_000))
    with pytest.raises(ImageRejected, match="more than 49 files"):
        check_archive(path, None, ImageLimits(files=49))
    with pytest.raises(ImageRejected, match="exceeds"):
        check_archive(path, None, ImageLimits(archive_bytes=1000))


def test_a_compression_bomb_stops_at_the_bound(tmp_path: Path) -> None:
    layer = tar_of(entry("zeros", bytes(64 * 2**20)))
    path = archive_of(tmp_path / "image.tar", config_of([layer]), [gzip.compress(layer)])
    assert path.stat().st_size < 2**20

    with pytest.raises(ImageRejected, match="unpacks to more"):
        check_archive(path, None, ImageLimits(unpacked_bytes=2**20))


def test_other_machines_images_are_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "image.tar", config_of([GOOD_LAYER], architecture="riscv64"), [GOOD_LAYER])

    with pytest.raises(ImageRejected, match=f"this machine is linux/{machine_architecture()}"):
        check_archive(path, None)


@pytest.mark.parametrize(
    "outer",
    [
        [],
        [entry("manifest.json", b"[]")],
        [entry("manifest.json", b"{}")],
        [entry("manifest.json", b"not json")],
        [entry("manifest.json", b'[{"Config": "missing.json", "Layers": []}]')],
        [entry("manifest.json", b'[{"Config": 7, "Layers": 7}]')],
        [entry("manifest.json", b'[{"Config": "manifest.json", "Layers": []}]')],
        [entry("manifest.json", kind=tarfile.SYMTYPE, link="/etc/passwd")],
        [entry("../manifest.json", b"[]")],
        [entry("disk", kind=tarfile.BLKTYPE)],
        [entry("manifest.json", b"[" * 100_000)],
        [entry("x/layer.tar", kind=tarfile.SYMTYPE, link="../y/layer.tar")],
    ],
)
def test_nonsense_is_refused_with_a_sentence(tmp_path: Path, outer: "list[tuple[tarfile.TarInfo, bytes]]") -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tar_of(*outer))

    with pytest.raises(ImageRejected):
        check_archive(path, None)


def test_a_layer_that_occurs_twice_as_old_engines_write_it(tmp_path: Path) -> None:
    config = config_of([GOOD_LAYER, GOOD_LAYER])
    manifest = orjson.dumps([{"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}])
    path = tmp_path / "image.tar"
    path.write_bytes(
        tar_of(
            entry("c.json", config),
            entry("manifest.json", manifest),
            entry("a/layer.tar", GOOD_LAYER),
            entry("b/layer.tar", kind=tarfile.SYMTYPE, link="../a/layer.tar"),
        )
    )

    assert len(check_archive(path, None).layers) == 2


def test_flipped_bytes_never_crash_the_check(tmp_path: Path, dice: random.Random) -> None:
    good = archive_of(tmp_path / "good.tar", config_of([GOOD_LAYER]), [GOOD_LAYER]).read_bytes()
    expected = image_id("sha256:" + hashlib.sha256(config_of([GOOD_LAYER])).hexdigest())
    for _ in range(300):
        data = bytearray(good)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path = tmp_path / "bad.tar"
        path.write_bytes(data)
        try:
            assert check_archive(path, expected).image_id == expected
        except ImageRejected:
            continue


@given(st.binary(max_size=2000))
def test_random_bytes_never_crash_the_check(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("random") / "image.tar"
    path.write_bytes(data)
    with pytest.raises(ImageRejected):
        check_archive(path, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "python",
        "python:3.11",
        "python@sha256:abc",
        f"Python@{ZEROS}",
        f"@{ZEROS}",
        f"a b@{ZEROS}",
        f"{'x' * 400}@{ZEROS}",
        f"a@{ZEROS}\n",
    ],
)
def test_what_does_not_pin_an_image_is_refused(text: str) -> None:
    with pytest.raises(ImageRejected):
        registry_image(text)


def test_pinned_names_are_read_and_written() -> None:
    text = "registry.example:5000/team/tool@sha256:" + "a" * 64

    assert str(registry_image(text)) == text
    with pytest.raises(ImageRejected):
        archived_image(Cid("bafyx"), "latest")
