"""The container's description as data: what is always there, and what a job cannot touch."""

from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.executors.port import ExecutionId, RunRequest
from capanode.node.executors.sandbox import Berth, GpuWay, container_body, holder_body, seccomp_profile
from capanode.node.images.reference import image_id

IMAGE = image_id("sha256:" + "a" * 64)
BERTH = Berth("node1", 0, "holder", "/capanode-node1/ab", "disk", {"Type": "bind", "Source": "/d", "Target": "/out"})


def request(**changes: Any) -> RunRequest:
    usual: dict[str, Any] = {
        "execution_id": ExecutionId("ab"),
        "image": IMAGE,
        "argv": ("run",),
        "env": (),
        "cpu_millis": 500,
        "memory_bytes": 64 * 2**20,
        "disk_bytes": 2**20,
        "pids": 32,
        "timeout_s": 10,
    }
    return RunRequest(**(usual | changes))


def test_the_usual_container() -> None:
    body = container_body(request(inputs=(("a", Path("/data/a")),)), BERTH, IMAGE, volumes=("/data",))
    host = body["HostConfig"]

    assert body["User"] == "65534:65534"
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    assert host["CapDrop"] == ["ALL"]
    assert "CapAdd" not in host
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["NetworkMode"] == "container:holder"
    assert host["SecurityOpt"] == ["no-new-privileges:true", f"seccomp={seccomp_profile()}"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 2**20
    assert host["NanoCpus"] == 500_000_000
    assert host["DeviceRequests"] == []
    assert [mount["Target"] for mount in host["Mounts"]] == ["/out", "/in/a", "/data"]
    assert host["Mounts"][1]["ReadOnly"] is True


words = st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=20)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


@given(st.lists(words, max_size=4), st.dictionaries(names, words, max_size=4))
def test_nothing_that_a_job_chooses_reaches_the_confinement(argv: list[str], env: dict[str, str]) -> None:
    plain = container_body(request(), BERTH, IMAGE)
    body = container_body(request(argv=tuple(argv), env=tuple(env.items())), BERTH, IMAGE)

    assert body["HostConfig"] == plain["HostConfig"]
    assert {**body, "Cmd": 0, "Env": 0} == {**plain, "Cmd": 0, "Env": 0}
    assert "NVIDIA_VISIBLE_DEVICES=void" in body["Env"]


def test_gpus_are_asked_for_by_uuid_and_never_by_runtime() -> None:
    wanted = request(gpu_uuids=("GPU-a", "GPU-b"))
    hook = container_body(wanted, BERTH, IMAGE)
    cdi = container_body(wanted, BERTH, IMAGE, way=GpuWay.CDI)

    assert hook["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["GPU-a", "GPU-b"]
    assert cdi["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]
    assert "Runtime" not in hook["HostConfig"]
    assert not [one for one in hook["Env"] if one.startswith("NVIDIA_")]


def test_the_holder_is_confined_too() -> None:
    host = holder_body("node1", 3, "image")["HostConfig"]

    assert (host["NetworkMode"], host["CapDrop"], host["ReadonlyRootfs"]) == ("none", ["ALL"], True)
    assert host["PidsLimit"] == 8


def test_the_system_calls_are_an_allow_list() -> None:
    profile = orjson.loads(seccomp_profile())
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}

    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    dangerous = "ptrace io_uring_setup bpf mount unshare setns keyctl userfaultfd perf_event_open vmsplice kexec_load"
    assert not allowed & set(dangerous.split())
    assert {"read", "write", "futex", "clone", "socket"} <= allowed
