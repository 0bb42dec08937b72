"""Train a small neural network on handwritten digits, and say how well it reads digits it has not seen.

Reads /in/digits.csv.gz (UCI "Optical Recognition of Handwritten Digits", 1,797 images of 8 × 8 pixels, the label
in the last column). Writes to /out: model.npz, metrics.json and learning_curve.png. NumPy and the standard library
only; the same inputs give the same bytes, so the result can be checked by running it again.
"""

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SEED = int(os.environ.get("SEED", "7"))
EPOCHS = int(os.environ.get("EPOCHS", "30"))
HIDDEN = 128
BATCH = 32
RATE = 0.003
DECAY = 1e-4
HELD_OUT = 360
CLASSES = 10
SIDE = 8


class Split(NamedTuple):
    """Rows to learn from, and rows to be examined on."""

    train_x: Array
    train_y: Labels
    test_x: Array
    test_y: Labels


class Network(NamedTuple):
    """One hidden layer with ReLU, then softmax."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array


class Epoch(NamedTuple):
    """What is known after one pass over the data."""

    loss: float
    train_accuracy: float
    test_accuracy: float


def load(path: Path, rng: np.random.Generator) -> Split:
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")
    order = rng.permutation(len(table))
    x, y = table[order, :-1] / 16.0, table[order, -1].astype(np.int64)
    return Split(x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT])


def new_network(inputs: int, rng: np.random.Generator) -> Network:
    return Network(
        rng.normal(0, np.sqrt(2 / inputs), (inputs, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, CLASSES)),
        np.zeros(CLASSES),
    )


def forward(net: Network, x: Array) -> tuple[Array, Array]:
    """The hidden layer, and the probability of each digit."""
    hidden = np.maximum(x @ net.w1 + net.b1, 0)
    scores = hidden @ net.w2 + net.b2
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def gradients(net: Network, x: Array, y: Labels) -> tuple[float, Network]:
    hidden, chances = forward(net, x)
    rows = np.arange(len(y))
    loss = float(-np.log(chances[rows, y]).mean())
    error = chances
    error[rows, y] -= 1
    error /= len(y)
    back = (error @ net.w2.T) * (hidden > 0)
    return loss, Network(
        x.T @ back + DECAY * net.w1, back.sum(axis=0), hidden.T @ error + DECAY * net.w2, error.sum(axis=0)
    )


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """The images, each moved by at most one pixel: the network shall not depend on the exact place."""
    padded = np.pad(x.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    down, right = rng.integers(0, 3, (2, len(x)))
    moved: Array = views[np.arange(len(x)), down, right].reshape(len(x), -1)
    return moved


def train(net: Network, data: Split, rng: np.random.Generator) -> Iterator[tuple[Network, Epoch]]:
    """Adam with a falling rate, one epoch at a time; every other batch is shifted."""
    first = [np.zeros_like(part) for part in net]
    second = [np.zeros_like(part) for part in net]
    step = 0
    for epoch in range(EPOCHS):
        rate = RATE * (1 - epoch / EPOCHS)
        losses = []
        for rows in np.array_split(rng.permutation(len(data.train_y)), len(data.train_y) // BATCH):
            step += 1
            images = data.train_x[rows]
            loss, slopes = gradients(net, shifted(images, rng) if step % 2 else images, data.train_y[rows])
            losses.append(loss)
            for index, slope in enumerate(slopes):
                first[index] += 0.1 * (slope - first[index])
                second[index] += 0.001 * (slope**2 - second[index])
            net = Network(
                *(
                    part - rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
                    for part, m, v in zip(net, first, second, strict=True)
                )
            )
        yield (
            net,
            Epoch(
                float(np.mean(losses)),
                accuracy(net, data.train_x, data.train_y),
                accuracy(net, data.test_x, data.test_y),
            ),
        )


def accuracy(net: Network, x: Array, y: Labels) -> float:
    return float((forward(net, x)[1].argmax(axis=1) == y).mean())


def save_model(net: Network, path: Path) -> None:
    """As `np.savez`, but with fixed times in the archive: equal models are equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in net._asdict().items():
            content = io.BytesIO()
            np.lib.format.write_array(content, part, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue())


# ---- the picture -------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, MARGIN = 480, 300, 24
PAPER, GRID, TRAIN, TEST = (255, 255, 255), (222, 222, 222), (31, 119, 180), (214, 39, 40)


def draw_curve(epochs: list[Epoch], path: Path) -> None:
    """Error on training rows (blue) and on held-out rows (red), with lines at 0, 5, 10, 15 and 20 percent."""
    image = np.full((HEIGHT, WIDTH, 3), PAPER, dtype=np.uint8)
    for line in (0.0, 0.05, 0.1, 0.15, 0.2):
        image[_row(line), MARGIN : WIDTH - MARGIN] = GRID
    for colour, errors in (
        (TRAIN, [1 - epoch.train_accuracy for epoch in epochs]),
        (TEST, [1 - epoch.test_accuracy for epoch in epochs]),
    ):
        columns = np.linspace(MARGIN, WIDTH - MARGIN - 1, len(errors))
        along = np.arange(MARGIN, WIDTH - MARGIN)
        rows = [_row(error) for error in np.interp(along, columns, errors)]
        for column, row, before in zip(along, rows, [rows[0], *rows], strict=False):
            image[min(row, before) - 1 : max(row, before) + 1, column] = colour
    path.write_bytes(png(image))


def _row(error: float) -> int:
    return HEIGHT - MARGIN - round(min(error, 0.2) / 0.2 * (HEIGHT - 2 * MARGIN))


def png(image: NDArray[np.uint8]) -> bytes:
    height, width, _ = image.shape
    lines = b"".join(b"\0" + line.tobytes() for line in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def main(inputs: Path = Path("/in"), outputs: Path = Path("/out")) -> None:
    rng = np.random.default_rng(SEED)
    data = load(inputs / "digits.csv.gz", rng)
    epochs: list[Epoch] = []
    net = new_network(data.train_x.shape[1], rng)
    for trained, epoch in train(net, data, rng):
        net = trained
        epochs.append(epoch)
        print(f"epoch {len(epochs):3} loss {epoch.loss:.4f} held-out accuracy {epoch.test_accuracy:.4f}")
    save_model(net, outputs / "model.npz")
    draw_curve(epochs, outputs / "learning_curve.png")
    metrics = {
        "accuracy": round(epochs[-1].test_accuracy, 6),
        "train_accuracy": round(epochs[-1].train_accuracy, 6),
        "loss": round(epochs[-1].loss, 6),
        "epochs": len(epochs),
        "held_out_rows": len(data.test_y),
        "seed": SEED,
    }
    (outputs / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="ascii")
    print(f"accuracy on {len(data.test_y)} rows that it has not seen: {metrics['accuracy']}")


if __name__ == "__main__":
    main()
