"""Six real kernels, computed in ways that differ in nothing but rounding, and in cheaper ways that pass for them.

A worker of its own computes all of them, since a BLAS build chooses its code and its threads when it is loaded.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ORDERS: Final = ("plain", "reversed", "blocked", "other")
KINDS: Final = ("f4", "f8")
CHEAP: Final = ("half", "bfloat", "fp8", "int8", "single")
STEPS: Final = 16
BLOCK: Final = 64
RATE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How products and sums are formed: their order, and the precision that their inputs are lowered to."""

    kind: str
    order: str = "plain"
    cheap: str = ""
    skip: int = 0
    """Steps left out at the end."""

    def product(self, a: Array, b: Array) -> Array:
        a, b = lowered(a, self.cheap), lowered(b, self.cheap)
        match self.order:
            case "plain":
                found: Array = a @ b
            case "reversed":
                found = np.ascontiguousarray(a[:, ::-1]) @ np.ascontiguousarray(b[::-1])
            case "blocked":
                found = _one_by_one([a[:, i : i + BLOCK] @ b[i : i + BLOCK] for i in range(0, a.shape[1], BLOCK)])
            case _:
                found = np.einsum("ij,jk->ik", a, b, optimize=False)
        return found

    def total(self, x: Array) -> Array:
        """Sums along the last axis."""
        x = lowered(x, self.cheap)
        match self.order:
            case "plain":
                found: Array = x.sum(axis=-1)
            case "reversed":
                found = x[..., ::-1].sum(axis=-1)
            case "blocked":
                found = _one_by_one([x[..., i : i + BLOCK].sum(axis=-1) for i in range(0, x.shape[-1], BLOCK)])
            case _:
                rows = x.reshape(-1, x.shape[-1])
                found = np.array([math.fsum(row.tolist()) for row in rows], x.dtype).reshape(x.shape[:-1])
        return found


def _one_by_one(parts: list[Array]) -> Array:
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


def lowered(x: Array, cheap: str) -> Array:
    """The values as a cheaper precision has them."""
    match cheap:
        case "half":
            return x.astype(np.float16).astype(x.dtype)
        case "bfloat":
            bits = x.astype(np.float32).view(np.uint32)
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
            found: Array = rounded.view(np.float32).astype(x.dtype)
            return found
        case "fp8":  # four bits of exponent, three of mantissa
            mantissa, exponent = np.frexp(np.clip(x, -448, 448))
            found = np.ldexp(np.round(mantissa * 16) / 16, np.maximum(exponent, -5)).astype(x.dtype)
            return found
        case "int8":
            step = float(np.abs(x).max()) / 127 or 1.0
            return (np.round(x / step) * step).astype(x.dtype)
        case "single":
            return x.astype(np.float32).astype(x.dtype)
        case _:
            return x


Kernel = Callable[[Arithmetic, Array], Array]
"""From one vector of 16,384 normal values to a vector of results."""

INPUTS: Final = 16_384


def matmul(way: Arithmetic, x: Array) -> Array:
    return way.product(x[:8192].reshape(32, 256), x[8192:].reshape(256, 32))


def attention(way: Arithmetic, x: Array) -> Array:
    """Two layers of softmax attention over 32 tokens of 64 numbers."""
    tokens, weights = x[:2048].reshape(32, 64), x[2048:14336].reshape(3, 64, 64) / 8
    for _ in range(2 - way.skip):
        q, k, v = (way.product(tokens, w) for w in weights)
        scores = way.product(q, np.ascontiguousarray(k.T)) / np.asarray(8, x.dtype)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        tokens = way.product(powers / way.total(powers)[:, None], v)
    return tokens


def sgd_start(x: Array) -> Array:
    return x[:272] / 4


def sgd_step(way: Arithmetic, x: Array, weights: Array, step: int) -> Array:
    """One step of a network of 16, 16 and 1 units; `weights` are both layers'."""
    first, second = weights[:256].reshape(16, 16), weights[256:].reshape(16, 1)
    batch = x[512 + 16 * 32 * (step % 16) :][: 16 * 32].reshape(32, 16)
    wanted = batch[:, :1] * batch[:, 1:2]
    hidden = np.tanh(way.product(batch, first))
    off = way.product(hidden, second) - wanted
    back = way.product(off, np.ascontiguousarray(second.T)) * (1 - hidden**2)
    change_first = way.product(np.ascontiguousarray(batch.T), back)
    change_second = way.product(np.ascontiguousarray(hidden.T), off)
    rate = np.asarray(RATE / 32, x.dtype)
    changed: Array = weights - rate * np.concatenate((change_first.ravel(), change_second.ravel()))
    return changed


def sgd(way: Arithmetic, x: Array) -> Array:
    weights = sgd_start(x)
    for step in range(STEPS - way.skip):
        weights = sgd_step(way, x, weights, step)
    return weights


def fft(way: Arithmetic, x: Array) -> Array:
    """The spectrum of 512 values."""
    signal = x[:512]
    if way.cheap or way.order == "other":
        return _fft_by_product(way, signal)
    match way.order:
        case "plain":
            found = np.fft.rfft(signal)
        case "reversed":
            found = np.fft.fft(signal)[:257]
        case _:
            even, odd = np.fft.fft(signal[::2]), np.fft.fft(signal[1::2])
            turn = np.exp(-2j * np.pi * np.arange(256) / 512).astype(even.dtype)
            found = np.concatenate((even + turn * odd, (even - turn * odd)[:1]))
    return np.concatenate((found.real, found.imag)).astype(x.dtype)


def _fft_by_product(way: Arithmetic, signal: Array) -> Array:
    angles = -2 * np.pi * (np.outer(np.arange(257), np.arange(512)) % 512) / 512
    parts = [np.cos(angles), np.sin(angles)]
    return np.concatenate([way.product(part.astype(signal.dtype), signal[:, None]).ravel() for part in parts])


def reduction(way: Arithmetic, x: Array) -> Array:
    """Means and mean squares of 32 rows."""
    rows = x.reshape(32, 512)
    found: Array = np.concatenate((way.total(rows), way.total(rows * rows))) / np.asarray(512, x.dtype)
    return found


def convolution(way: Arithmetic, x: Array) -> Array:
    """Eight filters of 3 × 3 over eight channels of 16 × 16."""
    picture, filters = x[:2048].reshape(8, 16, 16), x[2048:2624].reshape(8, 72)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3), axis=(1, 2))
    columns = np.ascontiguousarray(windows.transpose(0, 3, 4, 1, 2).reshape(72, 196))
    return way.product(filters, columns)


KERNELS: Final[dict[str, Kernel]] = {
    "matmul": matmul,
    "attention": attention,
    "sgd": sgd,
    "fft": fft,
    "reduction": reduction,
    "convolution": convolution,
}
STEPWISE: Final = ("attention", "sgd")
"""Kernels that have a step to skip."""


def inputs(seed: int, kind: str) -> Array:
    return np.random.default_rng(seed).standard_normal(INPUTS).astype(kind)


def computed(kernel: str, way: Arithmetic, x: Array) -> Array:
    return KERNELS[kernel](way, x).astype(way.kind).ravel()


def controls(kernel: str, kind: str) -> Iterator[tuple[str, Arithmetic, bool]]:
    """(name, how it is computed, whether on an input that is cut short): what must not pass."""
    honest = Arithmetic(kind)
    for cheap in CHEAP:
        if cheap != "single" or kind == "f8":
            yield cheap, replace(honest, cheap=cheap), False
    yield "truncated_input", honest, True
    if kernel in STEPWISE:
        yield "skipped_step", replace(honest, skip=1), False


def truncated(x: Array) -> Array:
    """The last tenth of every thousand values is missing."""
    short = x.copy()
    short.reshape(-1, 64)[:, -6:] = 0
    return short


def states(way: Arithmetic, x: Array, committed: list[Array] | None = None) -> list[Array]:
    """The weights after each step: a run of its own, or each step from the committed state before it."""
    found = [sgd_start(x)]
    for step in range(STEPS):
        found.append(sgd_step(way, x, found[-1] if committed is None else committed[step], step).astype(way.kind))
    return found


def work(folder: str, first: int, last: int) -> None:
    """Compute all kernels for the seeds from `first` to before `last`; one file each, by seed and order."""
    for kind in KINDS:
        for kernel in KERNELS:
            found = [
                [computed(kernel, Arithmetic(kind, order), inputs(seed, kind)) for order in ORDERS]
                for seed in range(first, last)
            ]
            np.save(Path(folder) / f"{kernel}.{kind}.npy", np.array(found))
