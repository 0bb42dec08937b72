"""The peer-to-peer network: the only folder that imports py-libp2p.

Everything else in the node sees `capanode.node.p2p.port`. Importing libp2p costs about half a second
and 60 MB, so nothing here imports it before `capanode.node.p2p.network.open_network` is entered.
"""
