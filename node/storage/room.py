"""Whether the disk still has the room that a node needs to keep its promises."""

import os
from pathlib import Path

from capanode.node.data_folder import MIN_FREE_BYTES


class Room:
    """The file system of the data folder; below its reserve nothing new is taken on, so that what is open can end."""

    def __init__(self, folder: Path, reserve_bytes: int = MIN_FREE_BYTES) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes

    def free_bytes(self) -> int:
        """What an ordinary user may still write; zero when the disk does not say."""
        try:
            told = os.statvfs(self._folder)
        except OSError:
            return 0
        return told.f_bavail * told.f_frsize

    def objection(self) -> str:
        """Why nothing new is taken on, in a sentence for the operator; empty while there is room."""
        free = self.free_bytes()
        if free >= self._reserve_bytes:
            return ""
        return (
            f"the disk of {self._folder} has only {free // 2**20} MiB free and {self._reserve_bytes // 2**20} MiB are "
            "kept for what is open: free some, and work is taken again"
        )
