// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../interfaces/IDealMarket.sol";
import {Claim, Commitment, Terms} from "./Deal.sol";

/// @notice The place in memory where a deal is written out for hashing:
/// type hash | eleven words of terms | lockedBy | amount | commitment digest | one word to spare.
/// @dev Each hash of a deal is over consecutive words of this sheet, so that terms are copied from calldata once per call.
/// The compiler's abi.encode would check, mask and copy the eleven fields again for each hash: 4,000 to 6,000 gas more
/// per transaction in the gas bench. That is why this file, and no other, is written in assembly.
type DealSheet is uint256;

using DealSheetLib for DealSheet global;

library DealSheetLib {
    /// @notice A field has bits outside its type.
    error DirtyTerms();

    /// @notice A new sheet with the words of `source` as they are: for terms whose hash the chain knows.
    function open(Terms calldata source) internal pure returns (DealSheet sheet) {
        assembly ("memory-safe") {
            sheet := mload(0x40)
            mstore(0x40, add(sheet, 0x1e0))
            calldatacopy(add(sheet, 0x20), source, 0x160)
        }
    }

    /// @notice A new sheet with `source`, whose hash the chain does not know yet.
    /// @dev Checks what the compiler's decoder would: every field within its type. Otherwise the same terms could be
    /// written, and hashed, in two ways.
    function openNew(Terms calldata source) internal pure returns (DealSheet sheet) {
        sheet = open(source);
        uint256 dirt;
        assembly ("memory-safe") {
            dirt := or(shr(160, mload(add(sheet, 0x20))), shr(160, mload(add(sheet, 0x40))))
            dirt := or(
                dirt,
                shr(96, or(mload(add(sheet, 0x80)), or(mload(add(sheet, 0xa0)), mload(add(sheet, 0xc0)))))
            )
            dirt := or(dirt, shr(40, or(mload(add(sheet, 0xe0)), mload(add(sheet, 0x100)))))
            dirt := or(dirt, or(shr(32, mload(add(sheet, 0x120))), shr(8, mload(add(sheet, 0x140)))))
        }
        if (dirt != 0) revert DirtyTerms();
    }

    /// @notice A new sheet with the terms, `lockedBy`, `amount` and commitment digest of `source`.
    function open(Claim calldata source) internal pure returns (DealSheet sheet) {
        assembly ("memory-safe") {
            sheet := mload(0x40)
            mstore(0x40, add(sheet, 0x1e0))
            calldatacopy(add(sheet, 0x20), source, 0x1c0)
        }
    }

    // Fields come as whole words: both ways to open a sheet leave none with bits outside its type.

    function requester(DealSheet self) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x20))
        }
    }

    function provider(DealSheet self) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x40))
        }
    }

    function demandDigest(DealSheet self) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x60))
        }
    }

    function price(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x80))
        }
    }

    function verification(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0xa0))
        }
    }

    function fraudBond(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0xc0))
        }
    }

    function assignBy(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0xe0))
        }
    }

    function commitBy(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x100))
        }
    }

    function window(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x120))
        }
    }

    function mode(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x140))
        }
    }

    function salt(DealSheet self) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x160))
        }
    }

    function setProvider(DealSheet self, address value) internal pure {
        assembly ("memory-safe") {
            mstore(add(self, 0x40), value)
        }
    }

    function setPrice(DealSheet self, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore(add(self, 0x80), value)
        }
    }

    function setSalt(DealSheet self, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore(add(self, 0x160), value)
        }
    }

    /// @notice The EIP-712 struct hash keccak256(abi.encode(typeHash, terms)).
    function typed(DealSheet self, bytes32 typeHash) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(self, typeHash)
            hash := keccak256(self, 0x180)
        }
    }

    /// @notice Low bits of keccak256(abi.encode(terms, lockedBy)).
    function assigned(DealSheet self, address lockedBy) internal pure returns (uint200 hash) {
        assembly ("memory-safe") {
            mstore(add(self, 0x180), shr(96, shl(96, lockedBy)))
            hash := shr(56, shl(56, keccak256(add(self, 0x20), 0x180)))
        }
    }

    /// @notice Low bits of keccak256(abi.encode(terms, lockedBy, amount, commitmentDigest)), all of which it holds.
    function committed(DealSheet self) internal pure returns (uint200 hash) {
        assembly ("memory-safe") {
            hash := shr(56, shl(56, keccak256(add(self, 0x20), 0x1c0)))
        }
    }

    /// @notice Emits DealAnnounced(dealId, terms, locator).
    /// @dev Its data, abi.encode(terms, locator), is what the sheet holds and the locator behind it.
    function emitAnnounced(DealSheet self, bytes32 dealId, bytes calldata locator) internal {
        bytes32 topic = IDealMarket.DealAnnounced.selector;
        assembly ("memory-safe") {
            let data := add(self, 0x20)
            mstore(add(data, 0x160), 0x180)
            mstore(add(data, 0x180), locator.length)
            let tail := add(data, 0x1a0)
            let padded := and(add(locator.length, 0x1f), not(0x1f))
            // This call allocates nothing more, so the locator may run beyond the sheet into free memory.
            calldatacopy(tail, locator.offset, locator.length)
            mstore(add(tail, locator.length), 0)
            log2(data, add(0x1a0, padded), topic, dealId)
        }
    }

    /// @notice Emits DealCommitted for a commitment whose fields have been checked, and returns the new hash of the deal.
    /// @dev abi.encode of what the commitment digest is over is a prefix of the event's data.
    function emitCommitted(
        DealSheet self,
        bytes32 dealId,
        bytes32 traceRoot,
        Commitment calldata result,
        uint256 windowEndsAt,
        address lockedBy
    ) internal returns (uint200 hash) {
        bytes32 topic = IDealMarket.DealCommitted.selector;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, traceRoot)
            calldatacopy(add(data, 0x20), result, 0x40) // resultRoot, deliveryRoot
            if iszero(mload(add(data, 0x40))) { mstore(add(data, 0x40), mload(add(data, 0x20))) }
            calldatacopy(add(data, 0x60), add(result, 0x60), 0x80) // leavesCid, stepCount, status, amount
            mstore(add(data, 0xe0), windowEndsAt)
            lockedBy := shr(96, shl(96, lockedBy))
            mstore(add(data, 0x100), lockedBy)
            log4(data, 0x120, topic, dealId, mload(add(self, 0x20)), mload(add(self, 0x40)))

            mstore(add(self, 0x180), lockedBy)
            mstore(add(self, 0x1a0), mload(add(data, 0xc0)))
            mstore(add(self, 0x1c0), keccak256(data, 0xc0))
        }
        return self.committed();
    }
}
