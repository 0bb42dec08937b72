"""Readers of files that a stranger's program wrote: bytes to values, within bounds, without running anything."""
