"""The chain as an endpoint knows it that is behind, or follows a branch of its own.

Up to `base` it agrees with the true chain; up to `height` there are empty blocks with other hashes. What an endpoint
says while it has such a view is consistent: heads, blocks, logs, receipts, state and nonces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_hash.auto import keccak

Json = dict[str, Any]

_STATE_TAG_AT: Final[Mapping[str, int]] = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
}
"""Where a method that reads state has its block."""

_NO_BLOOM: Final = "0x" + "00" * 256


@dataclass(frozen=True, slots=True)
class Branch:
    """One view; without made-up blocks (`height == base`) it is only behind."""

    base: int
    base_hash: str
    height: int

    def asks(self, call: Json) -> Json:
        """The call that the true chain is asked in place of `call`."""
        method, params = call["method"], list(call["params"])
        at = _STATE_TAG_AT.get(method)
        if at is not None and at < len(params) and self._is_above_base(params[at]):
            params[at] = hex(self.base)
        elif method == "eth_getBlockByNumber" and params[0] == "latest":
            params[0] = hex(self.height)
        elif method == "eth_getBlockByHash" and (number := self._made_up.get(params[0])):
            return {**call, "method": "eth_getBlockByNumber", "params": [hex(number), *params[1:]]}
        return {**call, "params": params}

    def answers(self, call: Json, reply: Json) -> Json:
        """What the endpoint says to `call`, made from the true chain's reply to `asks(call)`."""
        if call["method"] == "eth_getLogs" and call["params"][0].get("blockHash") in self._made_up:
            return {"jsonrpc": "2.0", "id": reply["id"], "result": []}
        if "error" in reply:
            return reply
        result: Any = reply["result"]
        match call["method"]:
            case "eth_blockNumber":
                return {**reply, "result": hex(self.height)}
            case "eth_getBlockByNumber":
                return {**reply, "result": result and self._block(call["params"][0], result)}
            case "eth_getBlockByHash":
                is_known = call["params"][0] in self._made_up or not (result and self._is_above_base(result["number"]))
                return {**reply, "result": result and self._block("", result) if is_known else None}
            case "eth_getLogs":
                return self._logs(call["params"][0], reply)
            case "eth_getTransactionReceipt":
                return {**reply, "result": None if self._is_unknown(result) else result}
            case "eth_getTransactionByHash" if self._is_unknown(result):
                waits: Json = dict.fromkeys(("blockHash", "blockNumber", "transactionIndex"))
                return {**reply, "result": result | waits}
            case _:
                return reply

    def _is_above_base(self, tag: Any) -> bool:
        if tag in ("latest", "pending"):
            return True
        return isinstance(tag, str) and tag.startswith("0x") and int(tag, 16) > self.base

    def _is_unknown(self, included: Any) -> bool:
        number = included and included.get("blockNumber")
        return bool(number) and int(number, 16) > self.base

    def _block(self, tag: str, block: Json) -> Json | None:
        if tag == "pending":
            return block | {"number": hex(self.height + 1), "parentHash": self._hash(self.height)}
        number = int(block["number"], 16)
        if number > self.height:
            return None
        if number <= self.base:
            return block
        hashes = {"hash": self._hash(number), "parentHash": self._hash(number - 1)}
        return block | hashes | {"transactions": [], "logsBloom": _NO_BLOOM}

    def _logs(self, wanted: Json, reply: Json) -> Json:
        known = [log for log in reply["result"] if int(log["blockNumber"], 16) <= self.base]
        if "blockHash" in wanted and len(known) < len(reply["result"]):
            return {"jsonrpc": "2.0", "id": reply["id"], "error": {"code": -32000, "message": "unknown block"}}
        return {**reply, "result": known}

    def _hash(self, number: int) -> str:
        """Of the base, or of a made-up block."""
        if number <= self.base:
            return self.base_hash
        return "0x" + keccak(f"{self.base_hash}/{number}".encode()).hex()

    @property
    def _made_up(self) -> Mapping[str, int]:
        return {self._hash(number): number for number in range(self.base + 1, self.height + 1)}
