"""Puts the commands together, and turns every error into its sentence and exit code."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, cast

import typer

from capanode.node.cli import (
    challenges,
    determinism,
    devnet,
    disputes,
    jobs,
    keeping,
    networks,
    nodes,
    receipts,
    running,
    wallets,
)
from capanode.node.cli.exits import Exit, exit_of
from capanode.node.cli.output import note
from capanode.protocol.faults import Fault

app = typer.Typer(
    name="capanode",
    help="Buy and sell computing, with nobody in between.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"capanode {version('capanode')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Buy and sell computing, with nobody in between."""


nodes.add_to(app)
running.add_to(app)
keeping.add_to(app)
determinism.add_to(jobs.app)
app.add_typer(jobs.app, name="job")
disputes.add_to(challenges.app, wallets.app)
app.add_typer(challenges.app, name="challenge")
app.add_typer(wallets.app, name="wallet")
app.add_typer(networks.app, name="network")
app.add_typer(nodes.node_app, name="node")
app.add_typer(devnet.app, name="devnet")
app.add_typer(receipts.app, name="receipt")


def main() -> None:
    """Run a command; never shows a stack of ours for what a user can mend."""
    sys.exit(run(lambda: app(prog_name="capanode")))


def run(command: Callable[[], object]) -> int:
    """Call a command and give its exit code."""
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.DONE
    except KeyboardInterrupt:
        note("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Fault as fault:
        note(f"capanode: {fault}")
        return exit_of(fault)
    except BaseExceptionGroup as group:
        return _grouped(group)
    return Exit.DONE


def _grouped(group: BaseExceptionGroup[BaseException]) -> int:
    """A node's tasks end together; the first fault of ours is what the user has to know."""
    leaves = list(_leaves(group))
    faults = [leaf for leaf in leaves if isinstance(leaf, Fault)]
    if len(faults) == len([leaf for leaf in leaves if not isinstance(leaf, KeyboardInterrupt)]):
        for fault in faults:
            note(f"capanode: {fault}")
        return exit_of(faults[0]) if faults else Exit.INTERRUPTED
    raise group


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    inner = cast("tuple[BaseException, ...]", error.exceptions)  # pyright: ignore[reportUnknownMemberType]  # any group
    return [leaf for one in inner for leaf in _leaves(one)]
