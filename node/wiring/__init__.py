"""The one place where a node is put together: each file a side of it, `run` the whole."""
