"""`capanode receipt …`: what can be checked of a receipt without a network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capanode.node.cli.exits import NotVerified
from capanode.node.cli.options import AsJson
from capanode.node.cli.output import emit, say
from capanode.protocol.faults import Misconfigured

if TYPE_CHECKING:
    from capanode.proofs.tree import Entry
    from capanode.protocol.ids import Digest

app = typer.Typer(help="Check receipts, offline.", no_args_is_help=True)


@app.callback()
def _receipt() -> None:
    """Check receipts, offline."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt, as `job result` names it.")],
    outputs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The outputs, to be compared with the committed result.")
    ] = None,
    leaves: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The leaves of several steps; leaves.cbor beside the receipt unless said."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a receipt's signature, deal, inputs, outputs and commitment belong together; needs no node."""
    from capanode.node.keys.recover import recover
    from capanode.proofs.receipt import MAX_RECEIPT_BYTES, decode
    from capanode.proofs.receipt import verify as checks_of
    from capanode.protocol.encoding import BadMessage

    try:
        signed = decode(_read(file, MAX_RECEIPT_BYTES + 1))
    except BadMessage as error:
        raise NotVerified(f"{file} is not a receipt: {error}.") from error
    entries = None if outputs is None else _entries(outputs)
    hashed = _leaves(leaves or file.with_name("leaves.cbor")) if signed.receipt.commitment.step_count > 1 else ()
    checks = checks_of(signed, recover, outputs=entries, leaves=hashed)
    failed = [check for check in checks if not check.ok]
    if as_json:
        emit({
            "verified": not failed,
            "deal_id": f"0x{signed.receipt.deal_id.hex()}",
            "checks": [{"name": c.name, "ok": c.ok, "sentence": c.sentence} for c in checks],
        })  # fmt: skip
    else:
        for check in checks:
            say(f"{'ok ' if check.ok else 'NOT'}  {check.name:<11} {check.sentence}")
        if not failed:
            say("The receipt holds. That the deal exists and was paid is on the chain, not in the receipt.")
    if failed:
        raise NotVerified(f"the receipt {file} does not hold: {failed[0].sentence}")


def _entries(folder: Path) -> "tuple[Entry, ...]":
    from capanode.node.storage.tree_walk import Unfit, walk_here

    if not folder.is_dir():
        raise Misconfigured(f"{folder} is no folder: name the one with the outputs.")
    match walk_here(folder):
        case Unfit(problems=problems):
            raise NotVerified(f"{folder} cannot be a job's result: {problems[0]}")
        case tree:
            return tree.entries


def _leaves(file: Path) -> "tuple[Digest, ...]":
    from capanode.proofs import leaf_list
    from capanode.protocol.encoding import BadMessage

    try:
        return leaf_list.trace_of(leaf_list.decode(_read(file, leaf_list.MAX_LEAF_LIST_BYTES + 1))).leaves
    except BadMessage as error:
        raise NotVerified(f"{file} is not the leaf list of a trace: {error}.") from error


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({error.strerror}): correct the path.") from error
