"""What importing the package does to the process that imports it."""

import subprocess
import sys

from tests.tooling.checkout import ROOT

IMPORT_ALL = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("ignore")
import capanode
for module in pkgutil.walk_packages(capanode.__path__, "capanode."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from capanode.node.keys.accounts import Account
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nested_json_cannot_kill_the_process() -> None:
    hostile = "import json\ntry: json.loads('[' * 1_000_000)\nexcept RecursionError: print('refused')"
    assert run(IMPORT_ALL + hostile) == "refused"


def test_pure_folders_load_no_heavy_library() -> None:
    heavy = "{'trio', 'web3', 'libp2p', 'docker', 'eth_account', 'aiohttp', 'pydantic'}"
    assert run(f"import sys, capanode.protocol, capanode.proofs\nprint({heavy} & sys.modules.keys())") == "set()"
