"""The sandbox as one pure function: a request in, the engine's description of a container out.

There is no way for a job to weaken any of it. The tests read every line back from inside a container.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from importlib import resources
from pathlib import Path
from typing import Any, Final

import orjson

from capanode.node.executors.port import RunRequest

NODE_LABEL: Final = "capanode.node"
EXECUTION_LABEL: Final = "capanode.execution"
TIMEOUT_LABEL: Final = "capanode.timeout_s"
SLOT_LABEL: Final = "capanode.slot"
OUTPUTS_LABEL: Final = "capanode.outputs"
GPUS_LABEL: Final = "capanode.gpus"
CHECK_LABEL: Final = "capanode.check"
"""Says of a container that it computes again what somebody else has computed."""
HOLDER_LABEL: Final = "capanode.holder"

JOB_UID: Final = 65534
OUTPUTS_TARGET: Final = "/out"
STATE_TARGET: Final = "/state"
_MIB: Final = 2**20
_MAX_TMP_BYTES: Final = 2**30
_OOM_SCORE: Final = 500
_CHECK_OOM_SCORE: Final = 1000
_OPEN_FILES: Final = 8192
_LOG_FILE_KIB: Final = 256
_LOG_FILES: Final = 2

_GPU_CAPABILITIES: Final = [["gpu", "compute", "utility"]]

MAX_LOG_BYTES: Final = _LOG_FILE_KIB * _LOG_FILES * 1024
"""What the engine keeps of a job's output on disk, at most; the last part of it survives a flood."""

# HOME: uid 65534 has none, and many programs insist on a writable one.
_BASE_ENV: Final = {"HOME": "/tmp", "LANG": "C.UTF-8"}


@unique
class GpuWay(Enum):
    """How the engine is asked for a GPU; never by a default runtime, which images can abuse."""

    DEVICE_REQUEST = "device request"
    CDI = "cdi"


@dataclass(frozen=True, slots=True)
class Berth:
    """Where a job is put: its slot's network namespace, its output file system, its control group."""

    node: str
    slot: int
    holder: str
    cgroup_parent: str
    outputs_name: str
    outputs_mount: Mapping[str, Any]
    """Where the outputs come from; where the job sees them, its request says."""


def container_body(
    request: RunRequest,
    berth: Berth,
    image_name: str,
    *,
    volumes: tuple[str, ...] = (),
    way: GpuWay = GpuWay.DEVICE_REQUEST,
) -> dict[str, Any]:
    """Describe the job's container in the engine's own terms (POST /containers/create).

    `image_name` is what the engine knows the prepared image by. `volumes` are the paths that the
    image declares as volumes; each becomes a small tmpfs, since the engine would else give the job
    unlimited disk there.
    """
    return {
        "Image": image_name,
        "Cmd": list(request.argv) or None,
        "Env": [f"{name}={value}" for name, value in _environment(request).items()],
        "User": f"{JOB_UID}:{JOB_UID}",
        "Labels": _labels(request, berth),
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": False,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": {
            **_confinement(),
            **_limits(request),
            "OomScoreAdj": _CHECK_OOM_SCORE if request.is_check else _OOM_SCORE,
            "NetworkMode": f"container:{berth.holder}",
            "CgroupParent": berth.cgroup_parent,
            "Mounts": [*_mounts(request, berth), *(_scratch(path) for path in volumes)],
            "DeviceRequests": _device_requests(request.gpu_uuids, way),
        },
    }


def holder_body(node: str, slot: int, image: str) -> dict[str, Any]:
    """Describe the idle container whose empty network namespace the jobs of one slot join."""
    return {
        "Image": image,
        "Hostname": "job",
        "User": f"{JOB_UID}:{JOB_UID}",
        "Labels": {NODE_LABEL: node, HOLDER_LABEL: "network", SLOT_LABEL: str(slot)},
        # PID 1 ignores SIGTERM, and an engine that shuts down would wait ten seconds for it.
        "StopSignal": "SIGKILL",
        "HostConfig": {
            **_confinement(),
            "NetworkMode": "none",
            "Dns": ["127.0.0.1"],
            "DnsSearch": ["."],
            "Memory": 8 * _MIB,
            "MemorySwap": 8 * _MIB,
            "PidsLimit": 8,
            "Init": False,
        },
    }


def keeper_body(image: str, labels: Mapping[str, str], outputs_mount: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the idle container that keeps a job's output volume until it has been copied."""
    small = {"Memory": 8 * _MIB, "MemorySwap": 8 * _MIB, "PidsLimit": 8, "Init": False}
    return {
        "Image": image,
        "User": f"{JOB_UID}:{JOB_UID}",
        "Labels": dict(labels),
        "StopSignal": "SIGKILL",
        "HostConfig": {
            **_confinement(),
            **small,
            "NetworkMode": "none",
            "Mounts": [{**outputs_mount, "Target": OUTPUTS_TARGET}],
        },
    }


def _environment(request: RunRequest) -> dict[str, str]:
    forced = {} if request.gpu_uuids else {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    return _BASE_ENV | dict(request.env) | forced


def _labels(request: RunRequest, berth: Berth) -> dict[str, str]:
    return {
        NODE_LABEL: berth.node,
        EXECUTION_LABEL: request.execution_id,
        TIMEOUT_LABEL: str(request.timeout_s),
        SLOT_LABEL: str(berth.slot),
        OUTPUTS_LABEL: berth.outputs_name,
        GPUS_LABEL: ",".join(request.gpu_uuids),
    } | ({CHECK_LABEL: "1"} if request.is_check else {})


def _confinement() -> dict[str, Any]:
    return {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp_profile()}"],
        "ReadonlyRootfs": True,
        "Privileged": False,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Init": True,
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "OomScoreAdj": _OOM_SCORE,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": f"{_LOG_FILE_KIB}k", "max-file": str(_LOG_FILES)},
        },
    }


def _limits(request: RunRequest) -> dict[str, Any]:
    # Both kinds of tmpfs count as the job's memory; half of it each leaves room for the program.
    shared_bytes = max(_MIB, request.memory_bytes // 2)
    tmp_bytes = min(_MAX_TMP_BYTES, shared_bytes)
    return {
        "Memory": request.memory_bytes,
        "MemorySwap": request.memory_bytes,
        "NanoCpus": request.cpu_millis * 1_000_000,
        **({"CpusetCpus": request.cpus} if request.cpus else {}),
        "PidsLimit": request.pids,
        "ShmSize": shared_bytes,
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={tmp_bytes},mode=1777"},
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
        ],
    }


def _mounts(request: RunRequest, berth: Berth) -> list[Mapping[str, Any]]:
    inputs: list[Mapping[str, Any]] = [_read_only(name, path) for name, path in request.inputs]
    target = OUTPUTS_TARGET if request.state is None else STATE_TARGET
    return [{**berth.outputs_mount, "Target": target}, *inputs]


def _read_only(name: str, path: Path) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(path),
        "Target": f"/in/{name}",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _scratch(path: str) -> dict[str, Any]:
    return {"Type": "tmpfs", "Target": path, "TmpfsOptions": {"SizeBytes": 16 * _MIB, "Mode": 0o1777}}


def _device_requests(uuids: tuple[str, ...], way: GpuWay) -> list[dict[str, Any]]:
    if not uuids:
        return []
    match way:
        case GpuWay.DEVICE_REQUEST:
            return [
                {
                    "Driver": "nvidia",
                    "DeviceIDs": list(uuids),
                    "Capabilities": [["gpu", "compute", "utility"]],
                }
            ]
        case GpuWay.CDI:
            return [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in uuids]}]


def seccomp_profile() -> str:
    """The list of system calls that a job may make, compact as the engine takes it inline."""
    return _SECCOMP


_SECCOMP: Final = orjson.dumps(
    orjson.loads(resources.files("capanode.node.executors").joinpath("seccomp.json").read_bytes())
).decode()
