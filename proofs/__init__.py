"""Was it done right: tree digests, checkpoint leaves, commitments, receipts. Pure."""
