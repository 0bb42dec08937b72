"""The examples are valid job files, and their programs do what they say."""

import csv
import gzip
import importlib.util
import json
import struct
import zlib
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import pytest

from capanode.node.jobfile import JobFile, LocalInput, parse

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB_FILES = sorted(EXAMPLES.glob("*/job.yaml"))
BROUGHT_BY_THE_USER = {PurePosixPath("digits.csv.gz")}


def program(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job(name: str) -> JobFile:
    return parse((EXAMPLES / name / "job.yaml").read_text(encoding="utf-8"))


def test_there_are_four() -> None:
    assert len(JOB_FILES) == 4


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.parent.name)
def test_job_files_are_valid_and_their_inputs_are_here(path: Path) -> None:
    found = parse(path.read_text(encoding="utf-8"), path=path)
    assert found.warnings == ()
    for _, source in found.inputs:
        assert isinstance(source, LocalInput)
        assert source.path in BROUGHT_BY_THE_USER or (path.parent / source.path).is_file()


def test_montecarlo_estimates_pi_the_same_way_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "1")
    monkeypatch.setattr("sys.argv", ["estimate_pi.py", "20000"])
    program("montecarlo/estimate_pi.py").main(tmp_path)
    first = (tmp_path / "estimate.json").read_bytes()
    program("montecarlo/estimate_pi.py").main(tmp_path)
    assert (tmp_path / "estimate.json").read_bytes() == first
    found = json.loads(first)
    assert abs(found["pi"] - np.pi) < 4 * found["standard_error"]
    assert job("montecarlo").outputs == ("estimate.json",)


def test_wordcount_counts(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The cat. the CAT's 3 dogs—the end", encoding="utf-8")
    program("wordcount/count.py").main(tmp_path, tmp_path)
    with (tmp_path / "words.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["word", "count"],
        ["the", "3"],
        ["cat", "1"],
        ["cat's", "1"],
        ["dogs", "1"],
        ["end", "1"],
    ]
    assert job("wordcount").outputs == ("words.csv",)


@pytest.fixture
def easy_digits(tmp_path: Path) -> Path:
    """Ten patterns of 8 × 8 pixels with noise, in the form of the real data, which is not part of the repository."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 1797)
    patterns = rng.integers(0, 2, (10, 64)) * 16
    images = np.clip(patterns[labels] + rng.integers(-3, 4, (1797, 64)), 0, 16)
    with gzip.open(tmp_path / "digits.csv.gz", "wt", encoding="ascii") as file:
        for image, label in zip(images, labels, strict=True):
            file.write(",".join(map(str, [*image, label])) + "\n")
    return tmp_path


def test_digits_learns_and_writes_the_same_bytes_twice(
    easy_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCHS", "3")
    results: list[dict[str, bytes]] = []
    for number in range(2):
        out = tmp_path / str(number)
        out.mkdir()
        program("digits/train.py").main(easy_digits, out)
        results.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert results[0] == results[1]
    assert sorted(results[0]) == sorted(job("digits").outputs)
    metrics = json.loads(results[0]["metrics.json"])
    assert metrics["accuracy"] > 0.95
    with np.load(tmp_path / "0" / "model.npz") as model:
        assert {name: part.shape for name, part in model.items()} == {
            "w1": (64, 128),
            "b1": (128,),
            "w2": (128, 10),
            "b2": (10,),
        }
    assert pixels(results[0]["learning_curve.png"]) == (480, 300)


def test_training_learns_step_by_step_and_every_step_can_be_repeated(
    easy_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, bytes]] = []
    for number in (0, 1):
        state = tmp_path / f"state-{number}"
        state.mkdir()
        for step in range(3):
            if number and step == 2:
                # A state is all that a step begins with: another machine takes it from here.
                for name, content in states[1].items():
                    (state / name).write_bytes(content)
            monkeypatch.setenv("CAPANODE_STEP", str(step))
            program("training/train.py").main(easy_digits, state)
            states.append({path.name: path.read_bytes() for path in state.iterdir()})
    assert states[:3] == states[3:]
    rows = [line.split(",") for line in states[2]["curve.csv"].decode().splitlines()]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    losses = [float(row[1]) for row in rows]
    assert losses == sorted(losses, reverse=True)


def pixels(png: bytes) -> tuple[int, int]:
    """Width and height of a whole picture, every checksum of which is right."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, dict[bytes, bytes]()
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", png, place + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)
    return width, height
