"""Committed results under doubt: what a stranger needs to recompute them, the recomputing, and what comes of it."""
