// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Commitment, DemandCore} from "../types/Deal.sol";

/// @notice The tree over the k + 1 leaves of a trace of k steps: what a provider states about each step.
library Trace {
    bytes32 internal constant LEAF = keccak256("capanode.leaf.1");
    bytes32 internal constant NODE = keccak256("capanode.node.1");
    bytes32 internal constant EMPTY = keccak256("capanode.empty.1");

    /// @notice Up to this many steps all leaves are posted, so that none can be withheld.
    uint256 internal constant POSTED_STEPS = 16;

    /// @notice The commitment claims no step, or more steps than the demand allows.
    error BadStepCount(uint256 stepCount, uint256 stepLimit);
    /// @notice The trace has the wrong number of words for this many steps.
    error BadTraceLength(uint256 length, uint256 expected);
    /// @notice The first leaf does not start from the demand's input root.
    error BadFirstLeaf();
    /// @notice The last leaf does not end in the committed result.
    error BadLastLeaf();
    /// @notice One step has no published leaf list, more steps have one.
    error BadLeavesCid();

    /// @notice Checks a commitment of one step against the demand and returns the root of its trace.
    function rootOfOne(bytes32 dealId, DemandCore calldata demand, Commitment calldata result)
        internal
        pure
        returns (bytes32)
    {
        if (result.stepCount != 1) revert BadStepCount(result.stepCount, 1);
        if (result.leavesCid != 0) revert BadLeavesCid();
        (bytes32 first, bytes32 last) = _ends(dealId, demand, result, 1);
        return node(first, last);
    }

    /// @notice The same for more steps; `trace` holds the leaves or the proofs.
    function rootOfMore(
        bytes32 dealId,
        DemandCore calldata demand,
        Commitment calldata result,
        bytes32[] calldata trace
    ) internal pure returns (bytes32) {
        uint256 steps = result.stepCount;
        if (steps < 2) revert BadStepCount(steps, uint32(demand.steps));
        if (result.leavesCid == 0) revert BadLeavesCid();
        (bytes32 first, bytes32 last) = _ends(dealId, demand, result, steps);
        return steps <= POSTED_STEPS ? _posted(steps, first, last, trace) : _proved(steps, first, last, trace);
    }

    // The hashes below are keccak256(abi.encode(…)) of their arguments, leaves and nodes with their tag in front. They
    // are written in assembly since abi.encode allocates and keeps its buffer each time: 80 to 140 gas a hash.

    function demandDigest(DemandCore calldata demand) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            calldatacopy(p, demand, 0x60)
            hash := keccak256(p, 0x60)
        }
    }

    function leaf(
        bytes32 dealId,
        uint256 step,
        bytes32 stateRoot,
        uint256 exit,
        bytes32 stdoutRoot,
        uint256 done
    ) internal pure returns (bytes32 hash) {
        bytes32 tag = LEAF;
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, tag)
            mstore(add(p, 0x20), dealId)
            mstore(add(p, 0x40), step)
            mstore(add(p, 0x60), stateRoot)
            mstore(add(p, 0x80), exit)
            mstore(add(p, 0xa0), stdoutRoot)
            mstore(add(p, 0xc0), done)
            hash := keccak256(p, 0xe0)
        }
    }

    function node(bytes32 left, bytes32 right) internal pure returns (bytes32 hash) {
        bytes32 tag = NODE;
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, tag)
            mstore(add(p, 0x20), left)
            mstore(add(p, 0x40), right)
            hash := keccak256(p, 0x60)
        }
    }

    /// @notice Root of a tree padded with EMPTY to the next power of two; destroys `layer`.
    function treeRoot(bytes32[] memory layer) internal pure returns (bytes32) {
        bytes32 empty = EMPTY;
        for (uint256 n = layer.length; n > 1; n = (n + 1) / 2) {
            for (uint256 i = 0; i < n; i += 2) {
                layer[i / 2] = node(layer[i], i + 1 < n ? layer[i + 1] : empty);
            }
            empty = node(empty, empty);
        }
        return layer[0];
    }

    /// @notice Root of the tree in which `value` is leaf number `index`.
    function rootFrom(bytes32 value, uint256 index, bytes32[] calldata proof)
        internal
        pure
        returns (bytes32)
    {
        for (uint256 i = 0; i < proof.length; ++i) {
            value = index & 1 == 0 ? node(value, proof[i]) : node(proof[i], value);
            index >>= 1;
        }
        return value;
    }

    /// @dev The first and the last leaf, which the commitment and the demand determine.
    function _ends(bytes32 dealId, DemandCore calldata demand, Commitment calldata result, uint256 steps)
        private
        pure
        returns (bytes32 first, bytes32 last)
    {
        if (steps > uint32(demand.steps)) revert BadStepCount(steps, uint32(demand.steps));
        uint256 firstStep = uint32(demand.steps >> 32);
        first = leaf(dealId, firstStep, demand.inputRoot, 0, 0, 0);
        unchecked {
            last = leaf(dealId, firstStep + steps, result.resultRoot, result.status, result.stdoutRoot, 1);
        }
    }

    function _posted(uint256 steps, bytes32 first, bytes32 last, bytes32[] calldata leaves)
        private
        pure
        returns (bytes32)
    {
        _requireLength(leaves, steps + 1);
        if (leaves[0] != first) revert BadFirstLeaf();
        if (leaves[steps] != last) revert BadLastLeaf();
        return treeRoot(leaves);
    }

    function _proved(uint256 steps, bytes32 first, bytes32 last, bytes32[] calldata trace)
        private
        pure
        returns (bytes32 root)
    {
        uint256 depth = 0;
        while (steps >> depth != 0) ++depth; // 2**depth >= steps + 1 leaves
        _requireLength(trace, 1 + 2 * depth);
        root = trace[0];
        if (rootFrom(first, 0, trace[1:1 + depth]) != root) revert BadFirstLeaf();
        if (rootFrom(last, steps, trace[1 + depth:]) != root) revert BadLastLeaf();
    }

    function _requireLength(bytes32[] calldata trace, uint256 expected) private pure {
        if (trace.length != expected) revert BadTraceLength(trace.length, expected);
    }
}
