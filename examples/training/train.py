"""One step of training a small neural network on handwritten digits: one pass over the data, then the state is saved.

Called once for each step, in a container of its own, with CAPANODE_STEP counted from zero. Reads /in/digits.csv.gz and,
but for the first step, the network in /state; leaves in /state the network, and in curve.csv a line more: the step, its
loss, and the share of digits read rightly that it has not seen. NumPy and the standard library only. The same state and
inputs give the same bytes, so anybody can check a step by taking it again.
"""

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Network = dict[str, Array]
"""w1, b1, w2, b2, and for each the mean of the slopes so far: v_w1, v_b1, v_w2, v_b2."""

SEED = int(os.environ.get("SEED", "7"))
HIDDEN = 64
BATCH = 16
RATE = 0.004
INERTIA = 0.9
HELD_OUT = 360
CLASSES = 10


def load(path: Path) -> tuple[Array, Labels]:
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")
    table = table[np.random.default_rng(SEED).permutation(len(table))]
    return table[:, :-1] / 16.0, table[:, -1].astype(np.int64)


def new_network(inputs: int) -> Network:
    rng = np.random.default_rng(SEED)
    parts = {
        "w1": rng.normal(0, np.sqrt(2 / inputs), (inputs, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": rng.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, CLASSES)),
        "b2": np.zeros(CLASSES),
    }
    return parts | {f"v_{name}": np.zeros_like(part) for name, part in parts.items()}


def forward(net: Network, x: Array) -> tuple[Array, Array]:
    """The hidden layer, and the probability of each digit."""
    hidden = np.maximum(x @ net["w1"] + net["b1"], 0)
    scores = hidden @ net["w2"] + net["b2"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def learn(net: Network, x: Array, y: Labels) -> None:
    """Change the network by one batch."""
    hidden, chances = forward(net, x)
    error = chances
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    back = (error @ net["w2"].T) * (hidden > 0)
    slopes = {"w1": x.T @ back, "b1": back.sum(axis=0), "w2": hidden.T @ error, "b2": error.sum(axis=0)}
    for name, slope in slopes.items():
        net[f"v_{name}"] = INERTIA * net[f"v_{name}"] + slope
        net[name] = net[name] - RATE * net[f"v_{name}"]


def main(inputs: Path = Path("/in"), state: Path = Path("/state")) -> None:
    step = int(os.environ["CAPANODE_STEP"])
    x, y = load(inputs / "digits.csv.gz")
    train_x, train_y, test_x, test_y = x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT]
    net = {path.stem: np.load(path) for path in state.glob("*.npy")} if step else new_network(x.shape[1])
    order = np.random.default_rng((SEED, step)).permutation(len(train_y))
    for rows in np.array_split(order, len(order) // BATCH):
        learn(net, train_x[rows], train_y[rows])
    for name, part in net.items():
        np.save(state / f"{name}.npy", part)
    accuracy = float((forward(net, test_x)[1].argmax(axis=1) == test_y).mean())
    loss = float(-np.log(forward(net, train_x)[1][np.arange(len(train_y)), train_y]).mean())
    with (state / "curve.csv").open("a", encoding="ascii") as curve:
        curve.write(f"{step},{loss:.6f},{accuracy:.6f}\n")
    print(f"step {step:3} loss {loss:.4f} accuracy on digits that it has not seen {accuracy:.4f}")


if __name__ == "__main__":
    main()
