"""Why a contract refuses, as a sentence.

**Source**: Solidity's `Error(string)` and `Panic(uint256)`; the custom errors of contracts_abi.
"""

from dataclasses import replace
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from capanode.contracts_abi.bindings import UndecodableData, decode_error

_ERROR: Final = bytes.fromhex("08c379a0")
_PANIC: Final = bytes.fromhex("4e487b71")
_MAX_TEXT_CHARS: Final = 300

_OF_LIBRARIES: Final = {
    "AddressEmptyCode": "There is no contract at this address.",
    "FailedCall": "A call that the contract made failed without a reason.",
    "InvalidShortString": "A text in the contract is damaged.",
    "StringTooLong": "A text is too long for the contract.",
    "ReentrancyGuardReentrantCall": "The token called back into the contract, which it must not.",
    "SafeERC20FailedOperation": "The token refused the transfer.",
    "OwnableInvalidOwner": "This address cannot own the contract.",
    "OwnableUnauthorizedAccount": "Only the contract's owner may do this.",
    "ECDSAInvalidSignature": "The signature is not valid.",
    "ECDSAInvalidSignatureLength": "The signature has the wrong length.",
    "ECDSAInvalidSignatureS": "The signature is not in its canonical form.",
    "ERC20InsufficientAllowance": "The market may not take so many tokens: approve more.",
    "ERC20InsufficientBalance": "The wallet does not hold so many tokens.",
    "ERC20InvalidApprover": "This address cannot approve tokens.",
    "ERC20InvalidReceiver": "This address cannot receive tokens.",
    "ERC20InvalidSender": "This address cannot send tokens.",
    "ERC20InvalidSpender": "This address cannot be allowed to spend tokens.",
    "ERC2612ExpiredSignature": "The permit has expired: sign a new one.",
    "ERC2612InvalidSigner": "The permit is not signed by the tokens' owner.",
    "InvalidAccountNonce": "The permit was used already, or another was used before it: sign a new one.",
}
"""Sentences for the errors of the libraries in the contracts, whose sources have none that a person understands."""


def explain(data: bytes) -> str | None:
    """The sentence behind revert data; None where these contracts know no such error."""
    try:
        if data[:4] == _ERROR:
            (text,) = decode(("string",), data[4:])
            return f"The contract refuses: {text[:_MAX_TEXT_CHARS]}."
        if data[:4] == _PANIC:
            (code,) = decode(("uint256",), data[4:])
            return f"The contract panicked (code {code:#x}): report this, it is a bug."
        error = decode_error(data)
    except (DecodingError, OverflowError, UnicodeDecodeError, UndecodableData):
        return None
    if error is None:
        return None
    notice = _OF_LIBRARIES.get(error.name, error.notice).removesuffix(".")
    return f"{replace(error, notice=notice)} [{error.name}]."
