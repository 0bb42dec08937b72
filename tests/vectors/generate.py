"""Writes the golden vectors from independent references; `python tests/vectors/generate.py` renews them.

Nothing of capanode is imported here: typed data comes from eth-account, words from eth-abi, the Merkle tree
and the canonical CBOR from the few lines below. Python and Solidity tests read the same files. Every file is
an object of flat objects; bytes are 0x hex, integers are decimal strings.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from eth_abi.abi import encode as abi
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

HERE = Path(__file__).parent


def word(label: str) -> bytes:
    """32 bytes that look random and are the same in every run."""
    return hashlib.sha256(b"capanode vector: " + label.encode()).digest()


def address(label: str) -> bytes:
    return word(label)[:20]


REQUESTER_KEY = word("requester key")
PROVIDER_KEY = word("provider key")
REQUESTER = bytes.fromhex(Account.from_key(REQUESTER_KEY).address[2:])
PROVIDER = bytes.fromhex(Account.from_key(PROVIDER_KEY).address[2:])
CHAIN_ID = 31337
MARKET = address("market")
REGISTRY = address("registry")


# ---- traces ----------------------------------------------------------------------------------------------

LEAF, NODE, EMPTY = (keccak(f"capanode.{name}.1".encode()) for name in ("leaf", "node", "empty"))


def leaf(deal: bytes, index: int, state: bytes, exit_code: int, stdout: bytes, done: int) -> bytes:
    types = ["bytes32", "bytes32", "uint256", "bytes32", "uint256", "bytes32", "uint256"]
    return keccak(abi(types, [LEAF, deal, index, state, exit_code, stdout, done]))


def merkle(leaves: list[bytes]) -> bytes:
    """Recursive, from the top: the left half is the largest power of two below the number of leaves."""
    width = 1
    while width < len(leaves):
        width *= 2
    return subtree(leaves + [EMPTY] * (width - len(leaves)))


def subtree(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = len(leaves) // 2
    return keccak(abi(["bytes32"] * 3, [NODE, subtree(leaves[:half]), subtree(leaves[half:])]))


def siblings(leaves: list[bytes], position: int) -> list[bytes]:
    """Bottom first."""
    width = 1
    while width < len(leaves):
        width *= 2
    return path(leaves + [EMPTY] * (width - len(leaves)), position)


def path(leaves: list[bytes], position: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = len(leaves) // 2
    if position < half:
        return [*path(leaves[:half], position), subtree(leaves[half:])]
    return [*path(leaves[half:], position - half), subtree(leaves[:half])]


def trace(steps: int, first_step: int, exit_code: int, with_stdout: bool) -> dict[str, Any]:
    label = f"{steps} steps from {first_step}"
    deal, input_root = word(f"{label}: deal"), word(f"{label}: input")
    states = [input_root, *(word(f"{label}: state {i}") for i in range(1, steps + 1))]
    exits = [0] * steps + [exit_code]
    stdouts = [bytes(32)] * (steps + 1)
    if with_stdout:
        stdouts[1:] = [word(f"{label}: stdout {i}") for i in range(1, steps + 1)]
    leaves = [leaf(deal, first_step + i, states[i], exits[i], stdouts[i], int(i == steps)) for i in range(steps + 1)]
    root = merkle(leaves)
    leaves_cid = bytes(32) if steps == 1 else word(f"{label}: leaves")
    delivery_root = states[-1]
    commitment = keccak(
        abi(
            ["bytes32", "bytes32", "bytes32", "bytes32", "uint256", "uint256"],
            [root, states[-1], delivery_root, leaves_cid, steps, exit_code],
        )
    )
    return {
        "deal_id": deal,
        "first_step": first_step,
        "steps": steps,
        "exit_code": exit_code,
        "input_root": input_root,
        "result_root": states[-1],
        "delivery_root": delivery_root,
        "leaves_cid": leaves_cid,
        "states": states,
        "stdout_roots": stdouts,
        "stdout_root": stdouts[-1],
        "leaves": leaves,
        "first_proof": siblings(leaves, 0),
        "last_proof": siblings(leaves, steps),
        "trace_root": root,
        "commitment_digest": commitment,
    }


def traces() -> dict[str, Any]:
    return {
        "tags": {"leaf": LEAF, "node": NODE, "empty": EMPTY},
        "single": trace(1, 0, 0, with_stdout=False),
        "single_failed": trace(1, 0, 137, with_stdout=False),
        "single_stdout": trace(1, 0, 0, with_stdout=True),
        "single_resumed": trace(1, 7, 0, with_stdout=False),
        "two": trace(2, 0, 0, with_stdout=False),
        "three": trace(3, 5, 1, with_stdout=True),
        "sixteen": trace(16, 0, 0, with_stdout=False),
        "seventeen": trace(17, 0, 0, with_stdout=False),
        "hundred": trace(100, 3, 2, with_stdout=True),
    }


# ---- typed data ------------------------------------------------------------------------------------------

TERMS = [
    ("requester", "address"),
    ("provider", "address"),
    ("demandDigest", "bytes32"),
    ("price", "uint96"),
    ("verification", "uint96"),
    ("fraudBond", "uint96"),
    ("assignBy", "uint40"),
    ("commitBy", "uint40"),
    ("window", "uint32"),
    ("mode", "uint8"),
    ("salt", "uint256"),
]
HINT = [("recordDigest", "bytes32"), ("expiresAt", "uint40")]
TYPES: dict[str, list[tuple[str, str]]] = {
    "Award": TERMS,
    "Announcement": TERMS,
    "Accept": [("dealId", "bytes32")],
    "CancelMutual": [("dealId", "bytes32"), ("amount", "uint96"), ("validUntil", "uint40")],
    "Demand": [("requester", "address"), *HINT],
    "Bid": [("provider", "address"), *HINT],
    "Receipt": [("provider", "address"), ("recordDigest", "bytes32")],
    "PeerBinding": [("owner", "address")],
}


def signable(name: str, message: dict[str, Any], contract: bytes = MARKET, chain_id: int = CHAIN_ID) -> Any:
    return encode_typed_data(
        {"name": "capanode", "version": "1", "chainId": chain_id, "verifyingContract": "0x" + contract.hex()},
        {name: [{"name": field, "type": kind} for field, kind in TYPES[name]]},
        message,
    )


def typed_digest(name: str, message: dict[str, Any], contract: bytes = MARKET, chain_id: int = CHAIN_ID) -> bytes:
    parts = signable(name, message, contract, chain_id)
    return keccak(b"\x19" + parts.version + parts.header + parts.body)


def separator(contract: bytes, chain_id: int = CHAIN_ID) -> bytes:
    header: bytes = signable("Accept", {"dealId": bytes(32)}, contract, chain_id).header
    return header


def signature(key: bytes, name: str, message: dict[str, Any]) -> bytes:
    return bytes(Account.from_key(key).sign_message(signable(name, message)).signature)


SOME_SPEC = word("spec")


def demand_digest(first_step: int, step_limit: int, rules: int = 0, spec: bytes = SOME_SPEC) -> bytes:
    return keccak(
        abi(
            ["bytes32", "bytes32", "uint256"],
            [spec, word("input root"), rules << 64 | first_step << 32 | step_limit],
        )
    )


RULES = [
    ("class_", "uint8"),
    ("sealed_", "bool"),
    ("quorum", "uint8"),
    ("pool", "bytes32"),
    ("comparator", "bytes32"),
    ("maxStateBytes", "uint64"),
    ("stepSeconds", "uint32"),
    ("arbiterFee", "uint96"),
    ("auditPpm", "uint32"),
]


def rules(first_step: int, step_limit: int, fields: dict[str, Any], spec: bytes = SOME_SPEC) -> dict[str, Any]:
    """A deal's rules of judging, their digest, and what the terms bind with them."""
    values = [fields[name] for name, _ in RULES]
    digest = int.from_bytes(keccak(abi([kind for _, kind in RULES], values)), "big") % 2**192
    return {
        **{name: int(value) if isinstance(value, bool) else value for name, value in fields.items()},
        "digest": digest,
        "first_step": first_step,
        "step_limit": step_limit,
        "steps": digest << 64 | first_step << 32 | step_limit,
        "demand_digest": demand_digest(first_step, step_limit, digest, spec),
    }


ARBITERS = sorted(address(f"arbiter {i}") for i in range(3))
NAMED_POOL = keccak(abi(["address[]"], [ARBITERS]))


def all_rules() -> dict[str, Any]:
    """Classes that can be disputed, and both ways of choosing who judges."""
    drawn = {
        "class_": 1,
        "sealed_": False,
        "quorum": 0,
        "pool": keccak(b"x86_64-v3"),
        "comparator": bytes(32),
        "maxStateBytes": 2**30,
        "stepSeconds": 600,
        "arbiterFee": 10**16,
        "auditPpm": 200_000,
    }
    named = {
        **drawn,
        "class_": 2,
        "sealed_": True,
        "quorum": 2,
        "pool": NAMED_POOL,
        "comparator": word("comparator"),
    }
    largest = {
        **named,
        "class_": 3,
        "quorum": 255,
        "maxStateBytes": 2**64 - 1,
        "stepSeconds": 2**32 - 1,
        "arbiterFee": 2**96 - 1,
        "auditPpm": 1_000_000,
    }
    return {
        "rules_exact": rules(0, 1, drawn),
        "rules_named": rules(0, 20, named),
        "rules_largest": rules(2**31, 2**31 - 1, largest),
        "rules_demand_named": rules_bound_by(NAMED_DEMAND),
        "rules_pools": {"hardware_class": "x86_64-v3", "arbiters": ARBITERS, "named": NAMED_POOL},
    }


def rules_bound_by(demand: dict[str, Any]) -> dict[str, Any]:
    """The rules that a demand of class exact asks for, as the terms of its deal bind them."""
    asked = demand["rules"]
    fields = {
        "class_": 1,
        "sealed_": asked["sealed"],
        "quorum": asked["quorum"],
        "pool": asked["pool"],
        "comparator": asked["comparator"],
        "maxStateBytes": asked["max_state_bytes"],
        "stepSeconds": asked["step_s"],
        "arbiterFee": asked["arbiter_fee_wei"],
        "auditPpm": asked["audit_rate_ppm"],
    }
    return rules(demand["first_step"], demand["step_limit"], fields, demand["spec"])


def terms(mode: int, provider: bytes, price: int, salt: bytes) -> dict[str, Any]:
    return {
        "requester": REQUESTER,
        "provider": provider,
        "demandDigest": demand_digest(0, 1),
        "price": price,
        "verification": 3 * 10**15,
        "fraudBond": 5 * price,
        "assignBy": 1_800_000_000,
        "commitBy": 1_800_000_600,
        "window": 600,
        "mode": mode,
        "salt": int.from_bytes(salt, "big"),
    }


def award(mode: int, price: int = 10**18, salt: bytes | None = None) -> dict[str, Any]:
    message = terms(mode, PROVIDER, price, salt if salt is not None else word(f"salt {mode} {price}"))
    return {
        **message,
        "digest": typed_digest("Award", message),
        "signature": signature(REQUESTER_KEY, "Award", message),
    }


def announcement(mode: int) -> dict[str, Any]:
    message = terms(mode, bytes(20), 2 * 10**18, word(f"announced {mode}"))
    return {**message, "deal_id": typed_digest("Announcement", message)}


def simple(name: str, key: bytes, message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "digest": typed_digest(name, message), "signature": signature(key, name, message)}


def type_hashes() -> dict[str, bytes]:
    return {
        name: keccak(f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})".encode())
        for name, fields in TYPES.items()
    }


def typed_data() -> dict[str, Any]:
    announced = announcement(2)
    binding = {"owner": PROVIDER}
    return {
        "domain": {
            "chain_id": CHAIN_ID,
            "market": MARKET,
            "registry": REGISTRY,
            "market_separator": separator(MARKET),
            "registry_separator": separator(REGISTRY),
            "other_chain_id": 2**63 + 1,
            "other_chain_separator": separator(MARKET, 2**63 + 1),
        },
        "keys": {
            "requester_key": REQUESTER_KEY,
            "requester": REQUESTER,
            "provider_key": PROVIDER_KEY,
            "provider": PROVIDER,
        },
        "type_hashes": type_hashes(),
        "demand_digest": {
            "spec": SOME_SPEC,
            "input_root": word("input root"),
            "first_step": 0,
            "step_limit": 1,
            "digest": demand_digest(0, 1),
            "later_first_step": 7,
            "later_step_limit": 2**31,
            "later_digest": demand_digest(7, 2**31),
        },
        **all_rules(),
        "award_direct": award(0),
        "award_lock": award(1),
        "award_largest": award(1, price=(2**96 - 1) // 5),
        "announcement_award": announced,
        "announcement_first": announcement(3),
        "award_announced": award(2, price=15 * 10**17, salt=announced["deal_id"]),
        "accept": simple("Accept", REQUESTER_KEY, {"dealId": word("deal")}),
        "cancel_mutual": simple(
            "CancelMutual",
            REQUESTER_KEY,
            {"dealId": word("deal"), "amount": 123_456_789, "validUntil": 1_800_000_300},
        ),
        "demand": simple(
            "Demand",
            REQUESTER_KEY,
            {"requester": REQUESTER, "recordDigest": demand_record(), "expiresAt": 1_800_000_000},
        ),
        "bid": simple(
            "Bid",
            PROVIDER_KEY,
            {"provider": PROVIDER, "recordDigest": bid_record(), "expiresAt": 1_800_000_000},
        ),
        "receipt": simple("Receipt", PROVIDER_KEY, {"provider": PROVIDER, "recordDigest": word("receipt")}),
        "peer_binding": {**binding, "digest": typed_digest("PeerBinding", binding, REGISTRY)},
    }


# ---- records ---------------------------------------------------------------------------------------------


def head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 256**width:
            return bytes([major << 5 | info]) + value.to_bytes(width, "big")
    raise ValueError("longer than CBOR's heads")


def cbor(value: Any) -> bytes:
    """Deterministic CBOR of the subset that records use, written from RFC 8949 §4.2.1."""
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int() if 0 <= value < 2**64:
            return head(0, value)
        case int() if -(2**64) <= value < 0:
            return head(1, -1 - value)
        case int():
            tag, magnitude = (2, value) if value > 0 else (3, -1 - value)
            return head(6, tag) + cbor(magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big"))
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            pairs = sorted((cbor(key), cbor(item)) for key, item in value.items())
            return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
        case _:
            raise TypeError(type(value))


def record(name: str, fields: dict[str, Any]) -> bytes:
    return cbor([name, 1, fields])


RESOURCES: dict[str, Any] = {
    "cpu_millis": 1500,
    "memory_bytes": 512 * 2**20,
    "disk_bytes": 2**30,
    "timeout_s": 600,
    "gpu": None,
}
SPEC: dict[str, Any] = {
    "image": {"registry": {"reference": "library/python@sha256:" + word("manifest").hex()}, "archive": None},
    "argv": ["python", "/in/train.py", "--epochs", "30"],
    "env": [["LANG", "C.UTF-8"], ["SEED", "7"]],
    "inputs": [
        {
            "name": "digits.csv.gz",
            "sha256": word("digits"),
            "size_bytes": 57_523,
            "cid": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
            "url": None,
        },
        {
            "name": "train.py",
            "sha256": word("train"),
            "size_bytes": 4096,
            "cid": None,
            "url": "https://example.org/train.py",
        },
    ],
    "resources": RESOURCES,
    "verification": "exact",
    "deterministic_stdout": True,
}
GPU_SPEC: dict[str, Any] = {
    **SPEC,
    "image": {
        "registry": None,
        "archive": {
            "cid": "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
            "image_id": word("image id"),
            "size_bytes": 90_000_000,
        },
    },
    "argv": [],
    "env": [],
    "inputs": [],
    "resources": {
        **RESOURCES,
        "gpu": {
            "count": 2,
            "vendor": "nvidia",
            "model": "",
            "min_memory_bytes": 40 * 2**30,
            "min_compute_capability": 86,
        },
    },
    "verification": "none",
    "deterministic_stdout": False,
}
DEMAND: dict[str, Any] = {
    "requester": REQUESTER,
    "peer": "16Uiu2HAmQkbuGb3K3DmCyEDvKumSVCphVJCGPGHNoc4CobJbxfsC",
    "addresses": ["/ip4/192.0.2.7/tcp/4001"],
    "spec": hashlib.sha256(record("spec", SPEC)).digest(),
    "input_root": word("input root"),
    "first_step": 0,
    "step_limit": 1,
    "verification": "exact",
    "hardware_class": "x86-64-v3",
    "resources": RESOURCES,
    "image_bytes": 90_000_000,
    "input_bytes": 61_619,
    "price_cap_wei": 2 * 10**18,
    "verification_wei": 3 * 10**15,
    "audit_rate_ppm": 200_000,
    "window_s": 600,
    "commit_within_s": 900,
    "retention_s": 86_400,
    "mode": 1,
    "deal_id": None,
    "expires_at": 1_800_000_000,
    "salt": word("demand salt"),
}
STEPPED_SPEC: dict[str, Any] = {
    **SPEC,
    "resources": {**RESOURCES, "timeout_s": 20 * 30, "disk_bytes": 20 * 50 * 2**20},
    "steps": {"limit": 20, "timeout_s": 30, "state_bytes": 50 * 2**20},
}
STEPPED_DEMAND: dict[str, Any] = {
    **DEMAND,
    "spec": hashlib.sha256(record("spec", STEPPED_SPEC)).digest(),
    "step_limit": 20,
    "resources": STEPPED_SPEC["resources"],
    "rules": {
        "verification": "exact",
        "sealed": False,
        "quorum": 0,
        "pool": keccak(b"x86_64-v3"),
        "comparator": bytes(32),
        "max_state_bytes": 50 * 2**20,
        "step_s": 30,
        "arbiter_fee_wei": 10**16,
        "audit_rate_ppm": 200_000,
    },
}
NAMED_SPEC: dict[str, Any] = {**STEPPED_SPEC, "hardware_class": "x86_64-v3"}
NAMED_DEMAND: dict[str, Any] = {
    **STEPPED_DEMAND,
    "spec": hashlib.sha256(record("spec", NAMED_SPEC)).digest(),
    "hardware_class": "x86_64-v3",
    "rules": {**STEPPED_DEMAND["rules"], "quorum": 2, "pool": NAMED_POOL},
    "arbiters": ARBITERS,
}
BID: dict[str, Any] = {
    "provider": PROVIDER,
    "signer": PROVIDER,
    "peer": "16Uiu2HAmQkbuGb3K3DmCyEDvKumSVCphVJCGPGHNoc4CobJbxfsC",
    "demand": hashlib.sha256(record("demand", DEMAND)).digest(),
    "price_wei": 20 * 10**18,
    "ready_in_s": 0,
    "hardware_class": "x86-64-v4",
    "expires_at": 1_800_000_000,
}


def demand_record() -> bytes:
    return hashlib.sha256(record("demand", DEMAND)).digest()


def bid_record() -> bytes:
    return hashlib.sha256(record("bid", BID)).digest()


def records() -> dict[str, Any]:
    """Canonical bytes of one record of each kind; the fields are read back from them in the tests."""
    kinds = {
        "spec": ("spec", SPEC),
        "spec_gpu": ("spec", GPU_SPEC),
        "demand": ("demand", DEMAND),
        "bid": ("bid", BID),
        "spec_steps": ("spec", STEPPED_SPEC),
        "demand_rules": ("demand", STEPPED_DEMAND),
        "spec_hardware_class": ("spec", NAMED_SPEC),
        "demand_named": ("demand", NAMED_DEMAND),
    }
    return {
        name: {
            "kind": kind,
            "bytes": record(kind, fields),
            "digest": hashlib.sha256(record(kind, fields)).digest(),
        }
        for name, (kind, fields) in kinds.items()
    }


# ---- trees -----------------------------------------------------------------------------------------------


def tree(entries: list[list[Any]]) -> dict[str, Any]:
    encoded = cbor(entries)
    return {"bytes": encoded, "root": hashlib.sha256(b"capanode.tree.1\x00" + encoded).digest()}


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def trees() -> dict[str, Any]:
    return {
        "empty": tree([]),
        "outputs": tree(
            [
                ["learning_curve.png", "file", 0o644, 4, sha256(b"\x89PNG")],
                ["model.npz", "file", 0o644, 0, sha256(b"")],
                ["run.sh", "file", 0o755, 2, sha256(b"#!")],
            ]
        ),
        # "a-b" sorts before "a/b": by bytes of the whole path, not directory by directory.
        "nested": tree(
            [
                ["a", "dir", 0o755, 0, bytes(32)],
                ["a-b", "file", 0o644, 1, sha256(b"x")],
                ["a/b", "file", 0o644, 1, sha256(b"y")],
                ["a/empty", "dir", 0o755, 0, bytes(32)],
                ["a/up", "link", 0o777, 10, sha256(b"../../etc/")],
                ["é", "file", 0o644, 300, sha256(b"z" * 300)],
            ]
        ),
    }


# ---- a whole job of three steps --------------------------------------------------------------------------


def raw_cid(data: bytes) -> str:
    """CIDv1 of a blob of one chunk: raw, sha2-256, base32."""
    binary = b"\x01\x55\x12\x20" + sha256(data)
    return "b" + base64.b32encode(binary).decode().rstrip("=").lower()


def state(step: int, files: dict[str, bytes], stdout: bytes, done: int) -> dict[str, Any]:
    """What a step left: a directory `deep` with a link in it, and files; its manifest holds them all."""
    link = b"../n"
    contents = {**files, "deep/way": link}
    entries = [[path, "file", 0o644, len(content), sha256(content)] for path, content in files.items()]
    entries += [["deep", "dir", 0o755, 0, bytes(32)], ["deep/way", "link", 0o777, len(link), sha256(link)]]
    made = tree(sorted(entries))
    sent = [{"path": entry[0], "content": contents[entry[0]]} for entry in sorted(entries) if entry[0] in contents]
    manifest = record("result-manifest", {"tree": made["bytes"], "log_tail": b"", "sent": sent, "stored": []})
    return {
        "index": step + 1,
        "tree": made["bytes"],
        "state_root": made["root"],
        "exit_code": 0,
        "stdout": stdout,
        "stdout_root": sha256(stdout),
        "done": done,
        "manifest": manifest,
        "manifest_cid": raw_cid(manifest),
    }


def steps() -> dict[str, Any]:
    """Three steps of at most twenty; the last one says that it is the last by a file in the state."""
    deal = word("deal of three steps")
    inputs = tree([["data", "file", 0o644, 4, sha256(b"data")]])
    made = [
        state(0, {"n": b"0\n"}, b"step 0\n", 0),
        state(1, {"n": b"1\n"}, b"step 1\n", 0),
        state(2, {".capanode-done": b"", "n": b"3\n"}, b"step 2\n", 1),
    ]
    rows = [[inputs["root"], 0, bytes(32), False, None]]
    rows += [[s["state_root"], 0, s["stdout_root"], bool(s["done"]), s["manifest_cid"]] for s in made]
    listed = record("leaf-list", {"deal_id": deal, "first_step": 0, "leaves": rows})
    leaves = [leaf(deal, i, row[0], row[1], row[2], int(row[3])) for i, row in enumerate(rows)]
    return {
        "job": {"deal_id": deal, "first_step": 0, "step_limit": 20, "input_root": inputs["root"]},
        **{f"state_{s['index']}": s for s in made},
        "leaf_list": {
            "bytes": listed,
            "cid": raw_cid(listed),
            "leaves_cid": sha256(listed),
            "leaves": leaves,
            "trace_root": merkle(leaves),
            "proof_1": siblings(leaves, 1),
            "proof_2": siblings(leaves, 2),
        },
    }


def plain(value: Any) -> Any:
    match value:
        case bytes():
            return "0x" + value.hex()
        case int():
            return str(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


FILES = {"trace": traces, "typed_data": typed_data, "records": records, "tree": trees, "steps": steps}


def rendered(name: str) -> str:
    return json.dumps(plain(FILES[name]()), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in FILES:
        (HERE / f"{name}.json").write_text(rendered(name))
