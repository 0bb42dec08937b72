// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, Terms} from "./Deal.sol";

/// @notice The place in memory where a deal is written out for hashing:
/// type hash | eleven words of terms | lockedBy | amount | commitment digest.
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
            dirt := or(dirt, shr(96, or(mload(add(sheet, 0x80)), or(mload(add(sheet, 0xa0)), mload(add(sheet, 0xc0))))))
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
            calldatacopy(add(sheet, 0x20), add(source, 0x20), 0x1c0)
        }
    }

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

    function price(DealSheet self) internal pure returns (uint96 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x80))
        }
    }

    function verification(DealSheet self) internal pure returns (uint96 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0xa0))
        }
    }

    function fraudBond(DealSheet self) internal pure returns (uint96 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0xc0))
        }
    }

    function assignBy(DealSheet self) internal pure returns (uint40 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0xe0))
        }
    }

    function commitBy(DealSheet self) internal pure returns (uint40 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x100))
        }
    }

    function window(DealSheet self) internal pure returns (uint32 value) {
        assembly ("memory-safe") {
            value := mload(add(self, 0x120))
        }
    }

    function mode(DealSheet self) internal pure returns (uint8 value) {
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

    function setPrice(DealSheet self, uint96 value) internal pure {
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

    /// @notice Low bits of keccak256(abi.encode(terms)).
    function announced(DealSheet self) internal pure returns (uint200 hash) {
        assembly ("memory-safe") {
            hash := shr(56, shl(56, keccak256(add(self, 0x20), 0x160)))
        }
    }

    /// @notice Low bits of keccak256(abi.encode(terms, lockedBy)).
    function assigned(DealSheet self, address lockedBy) internal pure returns (uint200 hash) {
        assembly ("memory-safe") {
            mstore(add(self, 0x180), shr(96, shl(96, lockedBy)))
            hash := shr(56, shl(56, keccak256(add(self, 0x20), 0x180)))
        }
    }

    /// @notice Low bits of keccak256(abi.encode(terms, lockedBy, amount, commitmentDigest)).
    function committed(DealSheet self, address lockedBy, uint96 amount, bytes32 commitmentDigest)
        internal
        pure
        returns (uint200)
    {
        assembly ("memory-safe") {
            mstore(add(self, 0x180), shr(96, shl(96, lockedBy)))
            mstore(add(self, 0x1a0), shr(160, shl(160, amount)))
            mstore(add(self, 0x1c0), commitmentDigest)
        }
        return self.committed();
    }

    /// @notice The same for a sheet that holds them already.
    function committed(DealSheet self) internal pure returns (uint200 hash) {
        assembly ("memory-safe") {
            hash := shr(56, shl(56, keccak256(add(self, 0x20), 0x1c0)))
        }
    }
}
