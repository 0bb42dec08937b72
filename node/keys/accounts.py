"""eth-account's names, imported without what that import does to the interpreter.

Its dependency py-ecc raises the recursion limit to 100,000. From then on a hostile deeply nested JSON text no longer
raises `RecursionError`: it overflows the C stack and kills the process. Everything takes eth-account from here, and
late, because the import needs most of a second.
"""

import sys

_limit = sys.getrecursionlimit()
try:
    from eth_account import Account
    from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
finally:
    sys.setrecursionlimit(_limit)

__all__ = ["Account", "key_from_seed", "seed_from_mnemonic"]
