"""The keys of a node: the operator's wallet and the peer key."""
