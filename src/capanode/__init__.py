"""capanode: a node agent for a decentralized compute marketplace.

The code lives in the top-level folders of the repository (`protocol`,
`scheduler`, `proofs`, `node`, `contracts_abi`); each is linked into this
package, so `capanode.node` is `node/`.
"""

__version__ = "0.1.0"
