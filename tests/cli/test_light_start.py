"""A command starts without what only a running node needs."""

import subprocess
import sys

HEAVY = (
    "libp2p",
    "web3",
    "docker",
    "eth_account",
    "pydantic",
    "trio",
    "rich",
    "coincurve",
    "structlog",
    "cbor2",
    "yaml",
    "numpy",
)
"""Each costs a command between 30 and 600 ms before it has done anything."""

SHOW = "import sys; import capanode.node.cli, capanode.node.api.client, capanode.client; print(*sys.modules)"


def test_command_line_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & {name.partition(".")[0] for name in done.stdout.split()}
