"""The command line `capanode`.

Modules here import nothing heavy at their top: a command starts in a fraction of a second.
"""

from capanode.node.cli.app import main

__all__ = ["main"]
