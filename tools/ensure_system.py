"""Sees to what cannot come from a lock file: the container engine and a few programs.

What is there is used as it is. What is missing is installed and started only as root on Debian or Ubuntu,
and after saying so; anywhere else one sentence says what to install.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

ENGINE = {"dockerd": "docker.io", "mkfs.ext4": "e2fsprogs", "mount": "mount"}
"""Program -> Debian package, for running jobs (the loop file systems for outputs included)."""

TESTS = ENGINE | {"docker-registry": "docker-registry", "ip": "iproute2"}
"""The same for the tests, which also pull from a local registry and use network namespaces."""

ENGINE_LOG = Path("/var/log/capanode-dockerd.log")
ENGINE_PID = Path("/run/capanode-dockerd.pid")
CONTAINERD_PID = Path("/run/docker/containerd/containerd.pid")
START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 5.0


def main() -> None:
    wanted = {"engine": ENGINE, "tests": TESTS}[sys.argv[1]]
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"

    answer = ask_engine()
    missing = {program: package for program, package in wanted.items() if shutil.which(program) is None}
    if answer == "running":
        missing.pop("dockerd", None)
    if missing:
        install(missing)
    if answer != "running":
        start_engine(answer)


def engine_address() -> str:
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


def ask_engine() -> str:
    """'running', or why the container engine did not answer."""
    url = urlsplit(engine_address())
    try:
        if url.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(ANSWER_LIMIT_S)
            connection.connect(url.path)
        else:
            connection = socket.create_connection((url.hostname or "", url.port or 2375), ANSWER_LIMIT_S)
        with connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return "running" if b" 200 " in connection.recv(64) else "it answers, but is not healthy"
    except PermissionError:
        stop(f"{engine_address()} is closed to this user: add it to the group 'docker', or run this as root.")
    except OSError as error:
        return error.strerror or str(error)


def install(missing: dict[str, str]) -> None:
    packages = sorted(set(missing.values()))
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        stop(f"this machine lacks {', '.join(missing)}: install {names} (Debian's names), then run this again.")
    say(f"installing {names} with apt-get, because this machine lacks {', '.join(missing)} and this is root")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"]
    for command in ([*apt, "update"], [*apt, "install", "--no-install-recommends", *packages]):
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            stop(f"'{' '.join(command)}' failed, install {names} by hand:\n{done.stdout}{done.stderr}")


def start_engine(reason: str) -> None:
    if "DOCKER_HOST" in os.environ:
        stop(f"the container engine at DOCKER_HOST={engine_address()} does not answer ({reason}): start it.")
    if os.geteuid() != 0:
        stop(f"the container engine does not answer ({reason}): install and start Docker.")
    say(f"starting the container engine ({reason}); its log is {ENGINE_LOG}")
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], check=False)
        process = None
    else:
        process = start_dockerd()

    give_up_at = time.monotonic() + START_LIMIT_S
    while ask_engine() != "running":
        if process is not None and process.poll() is not None:
            stop(f"dockerd ended with code {process.returncode}; the end of {ENGINE_LOG}:\n{end_of_log()}")
        if time.monotonic() > give_up_at:
            stop(f"the container engine did not answer within {START_LIMIT_S:.0f} s; see {ENGINE_LOG}.")
        time.sleep(0.1)


def start_dockerd() -> subprocess.Popen[bytes]:
    """The engine in the background, cut loose from this terminal so that it outlives it.

    The pid file is our own and removed first: after a hard stop the usual one may name a process that
    lives again under the same number, and dockerd would refuse to start.
    """
    ENGINE_PID.unlink(missing_ok=True)
    forget_dead_containerd()
    with ENGINE_LOG.open("ab") as log:
        return subprocess.Popen(
            ["dockerd", "--pidfile", str(ENGINE_PID)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def forget_dead_containerd() -> None:
    """Removes a pid file whose number now belongs to some other program; dockerd would wait for that one."""
    try:
        pid = int(CONTAINERD_PID.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return
    if name != "containerd":
        CONTAINERD_PID.unlink()


def end_of_log() -> str:
    return "\n".join(ENGINE_LOG.read_text(errors="replace").splitlines()[-15:])


def say(sentence: str) -> None:
    print(f"[setup] {sentence}", flush=True)


def stop(sentence: str) -> NoReturn:
    print(f"[setup] {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
