// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice How a result may be judged; `Rules.class_` holds one of these.
enum Class {
    NONE,
    EXACT,
    TOLERANCE,
    REPLICATED
}

/// @notice Who judges a disputed step of a deal, how, and at what bounds and fee.
/// @dev The terms bind them: the low 192 bits of keccak256(abi.encode(rules)) are the upper bits of `DemandCore.steps`. A
/// deal of class NONE has no rules, 192 zero bits, and cannot be disputed.
struct Rules {
    /// @dev A `Class`.
    uint8 class_;
    /// @dev Inputs and result are sealed: nobody but the requester may challenge.
    bool sealed_;
    /// @dev Zero: arbiters are drawn by stake from `pool`. Else so many of the named set `pool` must agree.
    uint8 quorum;
    /// @dev keccak256 of the hardware class's text, or of abi.encode(arbiters), sorted, for a named set.
    bytes32 pool;
    /// @dev Digest of the comparator's record; zero for EXACT.
    bytes32 comparator;
    /// @dev Largest state that an arbiter must fetch.
    uint64 maxStateBytes;
    /// @dev Longest time that one execution of a step may take.
    uint32 stepSeconds;
    /// @dev What one arbiter earns by one vote.
    uint96 arbiterFee;
    /// @dev How many of a million results anyone may have audited at the requester's cost.
    uint32 auditPpm;
}

library RulesLib {
    function digest(Rules calldata rules) internal pure returns (uint192) {
        return uint192(uint256(keccak256(abi.encode(rules))));
    }
}
