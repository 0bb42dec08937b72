"""Forks nodes from a process that has imported everything: a start costs milliseconds instead of seconds of processor.

A line on standard input starts a command, one on standard output tells its process id and later how it ended. What is
forked is a process of its own like any other: it is killed, and dies, alone.
"""

import importlib
import io
import json
import os
import pkgutil
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("capanode.node", "capanode.protocol", "capanode.scheduler", "capanode.proofs")
"""All of their modules are imported before the first fork."""


def main() -> None:
    """Serve until standard input ends; then end what was started."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    children: set[int] = set()
    try:
        _serve(children)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _serve(children: set[int]) -> None:
    _tell({"ready": True})
    # Unbuffered: what select says must be all that there is.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        _obey(orders, children)


def _obey(orders: io.FileIO, children: set[int]) -> None:
    while True:
        ready, _, _ = select.select([orders], [], [], 0.02)
        if ready:
            line = orders.readline()
            if not line:
                return
            order: dict[str, Any] = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become(order)
            children.add(pid)
            _tell({"started": pid})
        _bury(children)


def _bury(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _become(order: dict[str, Any]) -> None:
    """Be the command that was ordered; does not return."""
    from capanode.node import fault_points

    os.setsid()
    nothing, log = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
    )
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(order["environment"])
    faults = Path(order["faults"])
    fault_points.watch(faults)
    if order["armed"] is not None:
        # For this process alone: what it starts has the same folder.
        point, passage = order["armed"]
        fault_points.Armed(point, passage, os.getpid()).write(faults)
    sys.argv = ["capanode", *order["command"]]
    code = 1
    try:
        main_of = "capanode.node.cli" if order["program"] == "capanode.node" else order["program"]
        importlib.import_module(main_of).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(fact: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
