"""Where a command gets the wallet's password."""

import getpass
import os
import sys
from pathlib import Path

from capanode.node.config_file import load_config
from capanode.node.data_folder import DataFolder
from capanode.node.keys.wallet import PASSWORD_FILE_VARIABLE, find_password
from capanode.protocol.faults import Misconfigured


def is_password_known(folder: DataFolder) -> bool:
    """Whether a node can open the wallet without asking anybody."""
    return bool(os.environ.get(PASSWORD_FILE_VARIABLE)) or load_config(folder).wallet.password_file is not None


def password_of(folder: DataFolder, given: Path | None) -> str:
    """The password of an existing wallet: from a file, else from the person at the terminal."""
    prompt = (lambda: asked("wallet password: ")) if sys.stdin.isatty() else None
    return find_password(given or load_config(folder).wallet.password_file, prompt)


def new_password(given: Path | None) -> str:
    """A password for a new wallet, typed twice unless it comes from a file."""
    if given is not None or os.environ.get(PASSWORD_FILE_VARIABLE) or not sys.stdin.isatty():
        return find_password(given, None)
    first = asked("new wallet password: ")
    if first != asked("the same again: "):
        raise Misconfigured("the two passwords differ: try again.")
    return first


def asked(prompt: str) -> str:
    """A password from the terminal, not shown; an empty one is refused."""
    text = getpass.getpass(prompt, stream=sys.stderr)
    if not text:
        raise Misconfigured("the password is empty: choose one.")
    return text
