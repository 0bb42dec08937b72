// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../interfaces/IDisputeCourt.sol";
import {Claim, DemandCore} from "../types/Deal.sol";
import {File, Grounds, Kind, Opening, Statement} from "../types/Case.sol";
import {Rules, RulesLib} from "../types/Rules.sol";
import {Trace} from "./Trace.sol";

/// @notice What is passed to the court against what a slot, terms and commitment bind.
library Files {
    bytes32 internal constant ANSWER = keccak256("capanode.answer.1");
    bytes32 internal constant VOTE = keccak256("capanode.vote.1");
    bytes32 internal constant SEED = keccak256("capanode.seed.1");
    bytes32 internal constant LOT = keccak256("capanode.lot.1");

    function caseId(bytes32 dealId, uint256 kind, uint256 step, uint256 serial)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(dealId, kind, step, serial));
    }

    function idOf(File calldata file) internal pure returns (bytes32) {
        return caseId(file.deal.dealId, file.kind, file.step, file.serial);
    }

    /// @notice Low bits of keccak256(abi.encode(file)).
    function hash(File calldata file) internal pure returns (uint160 low) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            calldatacopy(p, file, 0x2a0)
            low := shr(96, shl(96, keccak256(p, 0x2a0)))
        }
    }

    /// @notice The same of a file that is made of these; a dirty field makes a hash that no file has.
    function hash(
        Claim calldata deal,
        Kind kind,
        uint256 step,
        uint256 serial,
        address opener,
        uint256 bond,
        bytes32 answer
    ) internal pure returns (uint160 low) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            calldatacopy(p, deal, 0x1e0)
            mstore(add(p, 0x1e0), kind)
            mstore(add(p, 0x200), step)
            mstore(add(p, 0x220), serial)
            mstore(add(p, 0x240), opener)
            mstore(add(p, 0x260), bond)
            mstore(add(p, 0x280), answer)
            low := shr(96, shl(96, keccak256(p, 0x2a0)))
        }
    }

    function hiddenAnswer(bytes32 id, Opening calldata opening, address challenger)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(ANSWER, id, opening.answer, opening.salt, challenger));
    }

    function requireRules(Claim calldata deal, DemandCore calldata demand, Rules calldata rules)
        internal
        pure
    {
        bool bound = Trace.demandDigest(demand) == deal.terms.demandDigest
            && demand.steps >> 64 == RulesLib.digest(rules);
        if (!bound) revert IDisputeCourt.GroundsMismatch(deal.dealId);
    }

    function requireGrounds(Claim calldata deal, Grounds calldata grounds) internal pure {
        requireRules(deal, grounds.demand, grounds.rules);
        Statement calldata result = grounds.result;
        if (keccak256(abi.encode(result)) != deal.commitmentDigest) {
            revert IDisputeCourt.GroundsMismatch(deal.dealId);
        }
    }

    /// @notice The place of the leaf after `step` among the leaves of the trace.
    function positionAfter(uint256 step, Grounds calldata grounds) internal pure returns (uint256) {
        uint256 first = uint32(grounds.demand.steps >> 32);
        if (step < first || step - first >= grounds.result.stepCount) {
            revert IDisputeCourt.NoSuchStep(step);
        }
        return step - first + 1;
    }

    /// @notice Levels of the tree above the leaves of a trace of `steps` steps.
    function height(uint256 steps) internal pure returns (uint256 levels) {
        while (steps >> levels != 0) ++levels;
    }

    /// @dev The length is fixed, so that no inner node passes for a leaf.
    function requireLeaf(Statement calldata result, uint256 position, bytes32 leaf, bytes32[] calldata proof)
        internal
        pure
    {
        bool leads = proof.length == height(result.stepCount)
            && Trace.rootFrom(leaf, position, proof) == result.traceRoot;
        if (!leads) revert IDisputeCourt.BadProof();
    }
}
