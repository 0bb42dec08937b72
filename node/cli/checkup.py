"""`capanode doctor`: the findings as a list, and the shopping list at its end."""

import trio

from capanode.node.cli.exits import Exit
from capanode.node.cli.output import emit, say
from capanode.node.data_folder import DataFolder
from capanode.node.doctor import Finding, Level, examine

MARKS = {Level.OK: "ok", Level.NOTE: "--", Level.MISSING: "NO", Level.DOWN: "??"}


def checkup(folder: DataFolder, as_json: bool) -> int:
    """Examine a data folder and say what was found; the exit code says whether a node would work."""
    findings = trio.run(_all, folder)
    if as_json:
        emit(findings)
    else:
        _print(findings)
    levels = {finding.level for finding in findings}
    if Level.MISSING in levels:
        return Exit.INPUT
    return Exit.UNAVAILABLE if Level.DOWN in levels else Exit.DONE


async def _all(folder: DataFolder) -> tuple[Finding, ...]:
    return tuple([finding async for finding in examine(folder)])


def _print(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        say(f"{MARKS[finding.level]}  {finding.subject:<13} {finding.sentence}")
    to_do = [finding for finding in findings if finding.remedy]
    if to_do:
        say("")
        say("To do:")
    for finding in to_do:
        say(f"  {finding.subject}: {finding.remedy}")
