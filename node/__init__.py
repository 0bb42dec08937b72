"""The daemon and the command line: the only folder that does I/O."""
