"""A stand-in for NVIDIA's management library: C functions made with ctypes, so no compiler and no driver.

pynvml itself runs unchanged on top of it. A function that is missing here is missing as in an old driver.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

NVML: Any = pynvml


@dataclass(frozen=True, slots=True)
class StubGpu:
    uuid: str
    name: str
    vram_bytes: int
    capability: tuple[int, int]
    minor: int


class NvmlStub:
    """Put in the place of pynvml's loaded library; `fails` maps a function's name to the status it returns."""

    def __init__(self, gpus: tuple[StubGpu, ...], fails: dict[str, int] | None = None) -> None:
        self._gpus = gpus
        self._fails = fails or {}
        self._kept: dict[str, Any] = {}
        self._callbacks: list[Any] = []
        self.opened = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        body = _FUNCTIONS.get(name)
        if body is None:
            raise AttributeError(name)
        if name not in self._kept:
            self._kept[name] = self._c_function(name, body)
        return self._kept[name]

    def _c_function(self, name: str, body: "Callable[..., None]") -> Any:
        def call(*arguments: Any) -> int:
            if status := self._fails.get(name):
                return status
            body(self, *arguments)
            return 0

        arity = body.__code__.co_argcount - 1
        callback = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * arity)(call)
        self._callbacks.append(callback)
        # As from a loaded library: an address without declared arguments.
        address = ctypes.cast(callback, ctypes.c_void_p).value
        return ctypes.CDLL(None)._FuncPtr(address or 0)

    def init(self, _flags: int) -> None:
        self.opened += 1

    def shutdown(self) -> None:
        self.opened -= 1

    def count(self, target: int) -> None:
        ctypes.c_uint.from_address(target).value = len(self._gpus)

    def handle(self, index: int | None, target: int) -> None:
        ctypes.c_void_p.from_address(target).value = ((index or 0) & 0xFFFFFFFF) + 1

    def uuid(self, handle: int, target: int, _length: int) -> None:
        _write_text(target, self._gpus[handle - 1].uuid)

    def name(self, handle: int, target: int, _length: int) -> None:
        _write_text(target, self._gpus[handle - 1].name)

    def memory(self, handle: int, target: int) -> None:
        memory = NVML.c_nvmlMemory_t.from_address(target)
        memory.total = self._gpus[handle - 1].vram_bytes

    def capability(self, handle: int, major: int, minor: int) -> None:
        ctypes.c_int.from_address(major).value, ctypes.c_int.from_address(minor).value = self._gpus[
            handle - 1
        ].capability

    def minor(self, handle: int, target: int) -> None:
        ctypes.c_uint.from_address(target).value = self._gpus[handle - 1].minor


_FUNCTIONS: dict[str, Any] = {
    "nvmlInitWithFlags": NvmlStub.init,
    "nvmlShutdown": NvmlStub.shutdown,
    "nvmlDeviceGetCount_v2": NvmlStub.count,
    "nvmlDeviceGetHandleByIndex_v2": NvmlStub.handle,
    "nvmlDeviceGetUUID": NvmlStub.uuid,
    "nvmlDeviceGetName": NvmlStub.name,
    "nvmlDeviceGetMemoryInfo": NvmlStub.memory,
    "nvmlDeviceGetCudaComputeCapability": NvmlStub.capability,
    "nvmlDeviceGetMinorNumber": NvmlStub.minor,
}


def _write_text(target: int, text: str) -> None:
    data = text.encode() + b"\0"
    ctypes.memmove(target, data, len(data))
