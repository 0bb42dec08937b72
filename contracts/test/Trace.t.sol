// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Trace} from "../src/libraries/Trace.sol";
import {Commitment, DemandCore} from "../src/types/Deal.sol";
import {Test} from "./base/Test.sol";

contract TraceTest is Test {
    bytes32 private constant DEAL = keccak256("deal");

    /// @dev Through calldata, as the market has it.
    function rootOf(DemandCore calldata demand, Commitment calldata result, bytes32[] calldata trace)
        external
        pure
        returns (bytes32)
    {
        return result.stepCount == 1
            ? Trace.rootOfOne(DEAL, demand, result)
            : Trace.rootOfMore(DEAL, demand, result, trace);
    }

    function digest(DemandCore calldata demand) external pure returns (bytes32) {
        return Trace.demandDigest(demand);
    }

    function fold(bytes32 value, uint256 index, bytes32[] calldata proof) external pure returns (bytes32) {
        return Trace.rootFrom(value, index, proof);
    }

    function testFuzz_HashesAreThoseOfAbiEncode(
        bytes32 dealId,
        uint256 step,
        bytes32 state,
        uint8 exit,
        bytes32 stdoutRoot,
        bool done
    ) external pure {
        bytes32 leaf = keccak256(abi.encode(Trace.LEAF, dealId, step, state, exit, stdoutRoot, done));
        vm.assertEq(Trace.leaf(dealId, step, state, exit, stdoutRoot, done ? 1 : 0), leaf);
        vm.assertEq(Trace.node(dealId, state), keccak256(abi.encode(Trace.NODE, dealId, state)));
    }

    function testFuzz_DemandDigestIsThatOfAbiEncode(DemandCore calldata demand) external view {
        vm.assertEq(this.digest(demand), keccak256(abi.encode(demand)));
    }

    function testFuzz_PostedLeavesMakeTheRoot(uint8 count, uint32 firstStep) external view {
        uint32 steps = uint32(bound(count, 2, 16));
        (DemandCore memory demand, Commitment memory result) = job(steps, firstStep);
        bytes32[] memory leaves = leavesOf(demand, result);
        vm.assertEq(this.rootOf(demand, result, leaves), plainRoot(leaves));
    }

    function testFuzz_ProofsOfTheEndsAreEnoughForMore(uint16 count, uint32 firstStep) external view {
        uint32 steps = uint32(bound(count, 17, 300));
        (DemandCore memory demand, Commitment memory result) = job(steps, firstStep);
        bytes32[] memory leaves = leavesOf(demand, result);
        bytes32 root = plainRoot(leaves);
        vm.assertEq(this.rootOf(demand, result, proofs(leaves, root)), root);
    }

    function testFuzz_AWrongEndIsRefused(uint16 count, bool atTheStart) external {
        uint32 steps = uint32(bound(count, 2, 100));
        (DemandCore memory demand, Commitment memory result) = job(steps, 0);
        bytes32[] memory leaves = leavesOf(demand, result);
        leaves[atTheStart ? 0 : steps] = keccak256("wrong");
        bytes32[] memory trace = steps <= 16 ? leaves : proofs(leaves, plainRoot(leaves));
        vm.expectRevert(atTheStart ? Trace.BadFirstLeaf.selector : Trace.BadLastLeaf.selector);
        this.rootOf(demand, result, trace);
    }

    function testFuzz_AWrongLengthIsRefused(uint16 count, uint16 length) external {
        uint32 steps = uint32(bound(count, 2, 100));
        (DemandCore memory demand, Commitment memory result) = job(steps, 0);
        uint256 depth = 0;
        while (uint256(1) << depth < uint256(steps) + 1) ++depth;
        uint256 expected = steps <= 16 ? steps + 1 : 1 + 2 * depth;
        bytes32[] memory trace = new bytes32[](bound(length, 0, 50));
        vm.assume(trace.length != expected);
        vm.expectRevert(abi.encodeWithSelector(Trace.BadTraceLength.selector, trace.length, expected));
        this.rootOf(demand, result, trace);
    }

    function test_MoreStepsNeedALeafList() external {
        (DemandCore memory demand, Commitment memory result) = job(2, 0);
        result.leavesCid = 0;
        vm.expectRevert(Trace.BadLeavesCid.selector);
        this.rootOf(demand, result, new bytes32[](3));
    }

    /// @dev The largest demand that fits its word: nothing overflows.
    function test_LargestFirstStep() external view {
        (DemandCore memory demand, Commitment memory result) = job(1, 0);
        demand.steps = type(uint256).max;
        bytes32 first = Trace.leaf(DEAL, type(uint32).max, demand.inputRoot, 0, 0, 0);
        bytes32 last = Trace.leaf(DEAL, uint256(type(uint32).max) + 1, result.resultRoot, result.status, 0, 1);
        vm.assertEq(this.rootOf(demand, result, new bytes32[](0)), Trace.node(first, last));
    }

    function job(uint32 steps, uint32 firstStep)
        private
        pure
        returns (DemandCore memory demand, Commitment memory result)
    {
        demand = DemandCore(keccak256("spec"), keccak256("inputs"), (uint256(firstStep) << 32) | steps);
        bytes32 cid = steps == 1 ? bytes32(0) : keccak256("leaves");
        result = Commitment(keccak256("result"), keccak256("delivery"), 0, cid, steps, 3, 1);
    }

    function leavesOf(DemandCore memory demand, Commitment memory result)
        private
        pure
        returns (bytes32[] memory leaves)
    {
        uint256 firstStep = demand.steps >> 32;
        leaves = new bytes32[](result.stepCount + 1);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = Trace.leaf(DEAL, firstStep + i, keccak256(abi.encode(i)), 0, 0, 0);
        }
        leaves[0] = Trace.leaf(DEAL, firstStep, demand.inputRoot, 0, 0, 0);
        leaves[result.stepCount] =
            Trace.leaf(DEAL, firstStep + result.stepCount, result.resultRoot, result.status, 0, 1);
    }

    /// @dev The padded tree, written out in the plainest way.
    function plainRoot(bytes32[] memory leaves) private pure returns (bytes32) {
        bytes32[] memory layer = padded(leaves);
        while (layer.length > 1) layer = parents(layer);
        return layer[0];
    }

    function proofs(bytes32[] memory leaves, bytes32 root) private pure returns (bytes32[] memory trace) {
        bytes32[] memory layer = padded(leaves);
        uint256 depth = 0;
        while (uint256(1) << depth < layer.length) ++depth;
        trace = new bytes32[](1 + 2 * depth);
        trace[0] = root;
        uint256 index = leaves.length - 1;
        for (uint256 i = 0; i < depth; ++i) {
            trace[1 + i] = layer[1];
            trace[1 + depth + i] = layer[index ^ 1];
            layer = parents(layer);
            index /= 2;
        }
    }

    function padded(bytes32[] memory leaves) private pure returns (bytes32[] memory layer) {
        uint256 size = 1;
        while (size < leaves.length) size *= 2;
        layer = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            layer[i] = i < leaves.length ? leaves[i] : Trace.EMPTY;
        }
    }

    function parents(bytes32[] memory layer) private pure returns (bytes32[] memory above) {
        above = new bytes32[](layer.length / 2);
        for (uint256 i = 0; i < above.length; ++i) {
            above[i] = keccak256(abi.encode(Trace.NODE, layer[2 * i], layer[2 * i + 1]));
        }
    }
}
