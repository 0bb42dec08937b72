"""What a job finds when it looks around: every line of the sandbox, read back from inside."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from capanode.node.executors.docker import DockerExecutor
from capanode.node.executors.port import End, PreparedImage
from tests.executors.running import MIB, finished, python_job

DEVICES = {
    "fd",
    "full",
    "mqueue",
    "null",
    "ptmx",
    "pts",
    "random",
    "shm",
    "stderr",
    "stdin",
    "stdout",
    "tty",
    "urandom",
    "zero",
}

LOOK_AROUND = """
import json, os, resource, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return error.errno
mounts = {line.split()[1]: line.split()[2:4] for line in open("/proc/mounts")}
interfaces = sorted(line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:])
def run_from_tmp():
    with open("/tmp/x", "wb") as file:
        file.write(open("/usr/local/bin/python3", "rb").read())
    os.chmod("/tmp/x", 0o755)
    os.execv("/tmp/x", ["/tmp/x"])
print(json.dumps({
    "ids": os.getresuid() + os.getresgid(),
    "groups": os.getgroups(),
    "caps": {k: v.strip() for k, v in status.items() if k.startswith("Cap")},
    "no_new_privs": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "write_root": attempt(lambda: open("/x", "w")),
    "write_usr": attempt(lambda: open("/usr/x", "w")),
    "exec_tmp": attempt(run_from_tmp),
    "mounts": mounts,
    "tmp_bytes": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
    "shm_bytes": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "interfaces": interfaces,
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "env": dict(os.environ),
    "pid": os.getpid(),
    "cgroup": open("/proc/self/cgroup").read(),
    "hostname": socket.gethostname(),
    "resolv": open("/etc/resolv.conf").read(),
    "hosts": open("/etc/hosts").read(),
    "devices": sorted(os.listdir("/dev")),
    "init": open("/proc/1/comm").read().strip(),
    "out": os.listdir("/out"),
    "root": sorted(os.listdir("/")),
    "mountinfo": open("/proc/self/mountinfo").read(),
}))
"""


async def test_everything_about_the_sandbox_as_seen_from_inside(
    executor: DockerExecutor, image: PreparedImage, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_text("input")
    request = python_job(image, LOOK_AROUND, inputs=(("data", data),), env=(("TASK", "x"),), memory_bytes=256 * MIB)

    outcome = await finished(executor, request)

    assert (outcome.end, outcome.exit_code) == (End.EXITED, 0), outcome.stderr_tail
    seen: dict[str, Any] = json.loads(outcome.stdout_tail)
    assert seen["ids"] == [65534] * 6
    assert set(seen["groups"]) <= {65534}
    assert set(seen["caps"].values()) == {"0000000000000000"}
    assert seen["no_new_privs"] == "1"
    assert seen["seccomp"] == "2"
    assert seen["write_root"] == seen["write_usr"] == 30  # EROFS
    assert seen["exec_tmp"] == 13  # EACCES
    assert "ro" in seen["mounts"]["/"][1].split(",")
    assert {"nosuid", "nodev", "noexec"} <= set(seen["mounts"]["/tmp"][1].split(","))
    assert {"nosuid", "nodev", "noexec"} <= set(seen["mounts"]["/out"][1].split(","))
    assert "ro" in seen["mounts"]["/in/data"][1].split(",")
    assert seen["tmp_bytes"] == seen["shm_bytes"] == 128 * MIB
    assert seen["interfaces"] == ["lo"]
    assert seen["core"] == [0, 0]
    assert seen["nofile"] == [8192, 8192]
    assert seen["init"] == "docker-init"
    assert seen["out"] == []
    assert set(seen["devices"]) == DEVICES


async def test_nothing_of_the_host_or_the_deal_shows_inside(executor: DockerExecutor, image: PreparedImage) -> None:
    request = python_job(image, LOOK_AROUND)

    outcome = await finished(executor, request)

    seen: dict[str, Any] = json.loads(outcome.stdout_tail)
    assert seen["hostname"] == "job"
    assert os.uname().nodename not in seen["hosts"]
    assert "nameserver 127.0.0.1" in seen["resolv"]
    assert request.execution_id not in seen["cgroup"] + json.dumps(seen["env"])
    assert seen["env"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert seen["env"]["HOME"] == "/tmp"
    assert str(Path(__file__).parent) not in outcome.stdout_tail.decode()


DENIED = """
import ctypes, errno, json, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    return "done" if libc.syscall(number, *arguments) >= 0 else errno.errorcode[ctypes.get_errno()]
def family(number, kind=socket.SOCK_DGRAM):
    try:
        socket.socket(number, kind).close()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
numbers = {
    "x86_64": dict(io_uring_setup=425, ptrace=101, mount=165, unshare=272, bpf=321, keyctl=250, userfaultfd=323,
        perf_event_open=298, process_vm_readv=310, setns=308, open_by_handle_at=304, chroot=161, reboot=169,
        init_module=175, clock_settime=227, pivot_root=155, add_key=248, syslog=103, kcmp=312, fsopen=430),
    "aarch64": dict(io_uring_setup=425, ptrace=117, mount=40, unshare=97, bpf=280, keyctl=219, userfaultfd=282,
        perf_event_open=241, process_vm_readv=270, setns=268, open_by_handle_at=265, chroot=51, reboot=142,
        init_module=105, clock_settime=112, pivot_root=41, add_key=217, syslog=116, kcmp=272, fsopen=430),
}[platform.machine()]
found = {name: call(number, 0, 0, 0, 0, 0) for name, number in numbers.items()}
found["clone_newuser"] = call({"x86_64": 56, "aarch64": 220}[platform.machine()], 0x10000000, 0, 0, 0, 0)
found["clone3"] = call(435, 0, 0)
sockets = {"netlink": 16, "packet": 17, "alg": 38, "vsock": 40, "bluetooth": 31, "xdp": 44}
found |= {name: family(number, socket.SOCK_RAW) for name, number in sockets.items()}
allowed = {"unix": family(1, socket.SOCK_STREAM), "inet": family(2), "inet6": family(10)}
print(json.dumps([found, allowed]))
"""


async def test_the_kernel_s_dangerous_doors_are_shut(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, DENIED))

    denied, allowed = json.loads(outcome.stdout_tail)
    assert denied.pop("clone3") == "ENOSYS"  # glibc then falls back to clone
    assert denied == dict.fromkeys(denied, "EPERM")
    assert allowed == dict.fromkeys(allowed, "done")


async def test_python_numpy_and_threads_work_inside(executor: DockerExecutor, image: PreparedImage) -> None:
    script = """
import concurrent.futures, multiprocessing, sqlite3, ssl, subprocess, sys, tempfile
import numpy
def work(n):
    return float((numpy.ones((n, n)) @ numpy.ones((n, n))).sum())
if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(work, [64] * 8)))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(sum(pool.map(len, ["ab"] * 4)))
    print(subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, check=True).stdout)
    print(sqlite3.connect(":memory:").execute("select 6*7").fetchone())
    print(tempfile.TemporaryFile().write(b"x"))
"""
    outcome = await finished(executor, python_job(image, script))

    assert outcome.exit_code == 0, outcome.stderr_tail
    assert outcome.stdout_tail.split(b"\n")[:5] == [b"2097152.0", b"8", b"b'7\\n'", b"(42,)", b"1"]


async def test_the_cpu_limit_holds_and_is_metered(executor: DockerExecutor, image: PreparedImage) -> None:
    script = """
import time
until = time.monotonic() + 1.0
while time.monotonic() < until:
    pass
print(time.process_time())
"""
    outcome = await finished(executor, python_job(image, script, cpu_millis=250))

    assert outcome.exit_code == 0
    assert float(outcome.stdout_tail) < 0.5
    assert outcome.usage.cpu_ns is not None
    assert 0.1e9 < outcome.usage.cpu_ns < 0.7e9
    assert outcome.usage.wall_s >= 1.0


async def test_peak_memory_is_metered(executor: DockerExecutor, image: PreparedImage) -> None:
    outcome = await finished(executor, python_job(image, "x = bytearray(64 << 20)"))

    assert outcome.usage.peak_memory_bytes is not None
    assert 64 * MIB < outcome.usage.peak_memory_bytes < 128 * MIB


@pytest.mark.parametrize("variable", ["NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
async def test_a_cpu_job_cannot_ask_for_gpus_by_its_environment(
    executor: DockerExecutor, image: PreparedImage, variable: str
) -> None:
    request = python_job(image, f"import os; print(os.environ[{variable!r}])", env=((variable, "all"),))

    outcome = await finished(executor, request)

    assert outcome.stdout_tail.strip() in (b"void", b"")
