"""The local interface of a running node: what the command line and `capanode.client` may ask of it."""
