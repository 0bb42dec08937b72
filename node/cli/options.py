"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="CAPANODE_DATA", help="The node's data folder."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Holds the wallet's password; readable by you only."),
]
WeakKey = Annotated[bool, typer.Option("--devnet", help="A wallet that opens in milliseconds and should hold nothing.")]
