#!/usr/bin/env python3
"""Builds the contracts and writes `contracts_abi/`: artifacts, manifest and typed bindings.

Run it after every change in `contracts/src` (it needs the Solidity toolchain, `make setup`); a test rebuilds and
compares the bytes. `--check` writes nothing and fails when something differs. `--release` notes the code as it is among
what later releases ship as well (`earlier.json`): run it when a release is made, so that nodes can use what runs today
beside what will replace it.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import built_sources
import contract_bindings
from eth_hash.auto import keccak

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "contracts_abi"
CONTRACTS: Final = ("ArbiterPools", "DealMarket", "Directory", "DisputeCourt", "ProviderRegistry", "TestToken")
EARLIER: Final = TARGET / "earlier.json"
NOTICE: Final = re.compile(r"((?:[ ]*///[^\n]*\n)+)[ ]*error (\w+)\(")


def main() -> int:
    """Writes what has changed, or with `--check` names it; the exit status is 1 when a check finds something."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] == ["--release"]:
        EARLIER.write_text(_json(with_release(json.loads(EARLIER.read_text()), _build())))
        return 0
    stale = 0
    for name, text in generate().items():
        path = TARGET / name
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        print(f"{'differs' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text)
    return int(check and stale > 0)


def generate(built: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, str]:
    """The generated files by name, from the sources as they are now; built from scratch unless they are given."""
    built = built or _build()
    files = {f"{name}.json": _json(_artifact(artifact)) for name, artifact in built.items()}
    files["manifest.json"] = _json(_manifest(built))
    source = contract_bindings.render({name: artifact["abi"] for name, artifact in built.items()}, _notices())
    files["bindings.py"] = _formatted(source)
    return files


def with_release(earlier: dict[str, Any], built: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What was released before, and this; what is there already is not repeated."""
    noted = {}
    for name, item in built.items():
        artifact = _artifact(item)
        entry = {
            "codeHash": _hex(bytes.fromhex(artifact["deployedBytecode"][2:])),
            "immutables": artifact["immutables"],
        }
        before = earlier.get(name, [])
        noted[name] = before if entry in before else [*before, entry]
    return noted


def kept() -> dict[str, dict[str, Any]]:
    """The artifacts that forge keeps in the project's own folder, built where they are not there yet."""
    artifacts = built_sources.built().artifacts
    return {name: json.loads(artifacts[name].read_bytes()) for name in CONTRACTS}


def _build() -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [str(ROOT / "tools" / "forge"), "build", "--quiet", "contracts/src"]
        subprocess.run([*command, "--out", out, "--cache-path", Path(folder) / "cache"], cwd=ROOT, check=True)
        return {name: json.loads((out / f"{name}.sol" / f"{name}.json").read_text()) for name in CONTRACTS}


def _artifact(artifact: Mapping[str, Any]) -> dict[str, Any]:
    deployed = artifact["deployedBytecode"]
    places = sorted(
        (place["start"], place["length"])
        for group in deployed.get("immutableReferences", {}).values()
        for place in group
    )
    return {
        "abi": artifact["abi"],
        "bytecode": artifact["bytecode"]["object"],
        "deployedBytecode": deployed["object"],
        "immutables": [{"start": start, "length": length} for start, length in places],
    }


def _manifest(built: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    settings = built["DealMarket"]["metadata"]["settings"]
    sources = {path: info["keccak256"] for item in built.values() for path, info in item["metadata"]["sources"].items()}
    return {
        "compiler": built["DealMarket"]["metadata"]["compiler"]["version"],
        "settings": {key: settings[key] for key in ("evmVersion", "optimizer", "viaIR", "metadata")},
        "sourceHash": _hex("".join(path + sources[path] for path in sorted(sources)).encode()),
        "sources": dict(sorted(sources.items())),
        "codeHashes": {
            name: _hex(bytes.fromhex(item["deployedBytecode"]["object"][2:])) for name, item in built.items()
        },
    }


def _notices() -> dict[str, str]:
    """The sentence above each custom error; the compiler leaves them out of its user documentation."""
    notices: dict[str, str] = {}
    for path in sorted((ROOT / "contracts" / "src").rglob("*.sol")):
        for comment, name in NOTICE.findall(path.read_text()):
            lines = [line.strip().removeprefix("///").strip() for line in comment.splitlines()]
            notices[name] = " ".join(lines).removeprefix("@notice ")
    return notices


def _formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET / "bindings.py"), "-"]
    done = subprocess.run(command, input=source, text=True, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return done.stdout


def _json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


def _hex(data: bytes) -> str:
    return "0x" + keccak(data).hex()


if __name__ == "__main__":
    sys.exit(main())
