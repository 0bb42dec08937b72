// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, DemandCore, Terms} from "../types/Deal.sol";

/// @notice The hashes that stand for what travels in calldata; a slot keeps their low 200 bits.
library DealHash {
    function announced(Terms calldata terms) internal pure returns (uint200) {
        return _cut(keccak256(abi.encode(terms)));
    }

    function assigned(Terms memory terms, address lockedBy) internal pure returns (uint200) {
        return _cut(keccak256(abi.encode(terms, lockedBy)));
    }

    function committed(Terms calldata terms, address lockedBy, uint96 amount, bytes32 commitmentDigest)
        internal
        pure
        returns (uint200)
    {
        return _cut(keccak256(abi.encode(terms, lockedBy, amount, commitmentDigest)));
    }

    function committed(Claim calldata c) internal pure returns (uint200) {
        return committed(c.terms, c.lockedBy, c.amount, c.commitmentDigest);
    }

    function demand(DemandCore calldata core) internal pure returns (bytes32) {
        return keccak256(abi.encode(core));
    }

    function _cut(bytes32 hash) private pure returns (uint200) {
        return uint200(uint256(hash));
    }
}
