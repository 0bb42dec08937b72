"""A real image registry on a free loopback port."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, Popen
from time import monotonic


@contextmanager
def local_registry(folder: Path) -> Iterator[str]:
    """Run Debian's docker-registry; yields its address as image names have it."""
    program = which("docker-registry", path=os.environ["PATH"] + ":/usr/bin")
    assert program, "these tests need a registry: apt-get install docker-registry"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/blobs}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with Popen([program, "serve", str(config)], stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            _until_up(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _until_up(port: int) -> None:
    until = monotonic() + 30
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status == 200:
                return
        except ConnectionRefusedError:
            if monotonic() > until:
                raise
        finally:
            connection.close()
