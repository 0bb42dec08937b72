"""What the node keeps on disk: the journal database, blobs."""
