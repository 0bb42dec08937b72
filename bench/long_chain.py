"""A long chain full of the market's events, built once and kept: what a node that was away has to catch up with.

A contract in the market's place logs ten DealFinalized a call, and the gas limit lets one call into a block, so that a
development chain makes thousands of blocks out of one pool. It gets slower with its length: 20,000 blocks take some
five minutes, loading them two seconds.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from bench import report
from capanode.contracts_abi import bindings
from capanode.node.chain.anvil import find_anvil
from capanode.protocol.ids import Address

BLOCKS: Final = 20_000
EVENTS_PER_BLOCK: Final = 10
EVENTS: Final = BLOCKS * EVENTS_PER_BLOCK
CHAIN_ID: Final = 31_337
MARKET: Final = Address(b"\xee" * 20)
SENDER: Final = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
CODE: Final = f"5f5b805f5233815f35017f{bindings.DealFinalized.TOPIC.hex()}60405fa360010180600a1160015700"
"""for i in 0..9: log3(data = (i, 0), topics = DealFinalized, calldata[0:32] + i, caller)."""

CALL_GAS: Final = 100_000
BLOCK_GAS: Final = CALL_GAS
POOL: Final = 500
KEPT: Final = report.OUT / "cache" / f"chain_{BLOCKS}x{EVENTS_PER_BLOCK}.json"


@contextmanager
def long_chain() -> Generator[int]:
    """The chain on a port of this machine, for the length of the block."""
    if not KEPT.exists():
        _build()
    with _anvil("--no-mining", f"--load-state={KEPT}") as port:
        yield port


def ask(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    """One exchange on a kept connection."""
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    return connection.getresponse().read()


def _build() -> None:
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    unfinished = KEPT.with_suffix(".new")
    no_fees = ("--base-fee=0", "--disable-min-priority-fee")
    options = ("--no-mining", f"--gas-limit={BLOCK_GAS}", *no_fees, "--no-request-size-limit", "--prune-history")
    with _anvil(*options, f"--dump-state={unfinished}") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        _call(connection, [("anvil_setCode", ["0x" + MARKET.hex(), "0x" + CODE])])
        for start in range(0, BLOCKS, POOL):
            print(f"[bench] building the chain, once: {start} of {BLOCKS} blocks", file=sys.stderr)
            numbers = range(start, min(start + POOL, BLOCKS))
            _call(connection, [("eth_sendTransaction", [_transaction(number)]) for number in numbers])
            _call(connection, [("anvil_mine", [hex(len(numbers))])])
    unfinished.rename(KEPT)


def _transaction(number: int) -> dict[str, str]:
    return {
        "from": SENDER,
        "to": "0x" + MARKET.hex(),
        "nonce": hex(number),
        "gas": hex(CALL_GAS),
        "maxFeePerGas": "0x0",
        "maxPriorityFeePerGas": "0x0",
        "data": f"0x{number * EVENTS_PER_BLOCK:064x}",
    }


def _call(connection: http.client.HTTPConnection, calls: Sequence[tuple[str, Any]]) -> None:
    requests = [{"jsonrpc": "2.0", "id": 1, "method": method, "params": params} for method, params in calls]
    for reply in json.loads(ask(connection, json.dumps(requests).encode())):
        if "error" in reply:
            raise RuntimeError(f"the chain cannot be built: {reply['error']}")


@contextmanager
def _anvil(*options: str) -> Generator[int]:
    command = [str(find_anvil()), "--port=0", f"--chain-id={CHAIN_ID}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        said = b""
        while not (found := re.search(rb"Listening on [\d.]+:(\d+)", said)):
            said += os.read(process.stdout.fileno(), 4096)
            if process.poll() is not None:
                raise RuntimeError("the chain did not start")
        drain = threading.Thread(target=_drop, args=(process.stdout,), daemon=True)
        drain.start()
        try:
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()
            drain.join()


def _drop(stream: IO[bytes]) -> None:
    """Read the log away; a full pipe would stop the chain."""
    while os.read(stream.fileno(), 65_536):
        pass
