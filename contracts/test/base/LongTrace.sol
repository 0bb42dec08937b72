// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Files} from "../../src/libraries/Files.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {File, Grounds, Kind, LeafProof, Statement} from "../../src/types/Case.sol";
import {Claim, Commitment, DemandCore, Mode, Terms} from "../../src/types/Deal.sol";
import {CourtTest} from "./CourtTest.sol";

/// @notice A committed deal of many steps, with all leaves at hand; one at a time.
abstract contract LongTrace is CourtTest {
    /// @dev Steps are not counted from zero, so that a number taken for a place shows.
    uint32 internal constant FIRST = 5;

    /// @dev What the leaf at a place between the ends says, where it is not what an honest one says; place zero for none.
    LeafProof internal odd;
    /// @dev Of an audit, the step that the lot fell on.
    uint32 internal audited;
    /// @dev Hashes that stand in the place of leaves.
    mapping(uint256 position => bytes32) internal planted;
    /// @dev Leaves, their parents, and so on to the root.
    bytes32[][] internal layers;

    function long(uint32 steps) internal returns (Claim memory deal, Grounds memory grounds) {
        Terms memory terms = newTerms(Mode.LOCK);
        grounds.demand = longCore(steps);
        grounds.rules = rules;
        terms.demandDigest = keccak256(abi.encode(grounds.demand));
        bytes32 dealId = assignAs(provider.addr, terms);
        bytes32 root = grow(dealId, steps);
        Commitment memory c = longCommitment(steps);
        vm.prank(provider.addr);
        market.commitSteps(address(0), terms, grounds.demand, dealId, c, traceOf(steps, root));
        grounds.result = Statement(root, c.resultRoot, c.deliveryRoot, c.leavesCid, steps, 0);
        deal = Claim(terms, address(0), PRICE, commitmentDigest(root, c), dealId);
    }

    function longCore(uint32 steps) internal view returns (DemandCore memory d) {
        d = core();
        d.steps = (d.steps >> 64 << 64) | (uint256(FIRST) << 32) | steps;
    }

    function longCommitment(uint32 steps) internal pure returns (Commitment memory c) {
        c = newCommitment(PRICE);
        c.stepCount = steps;
        c.leavesCid = keccak256("leaves");
    }

    /// @dev What leaf number `position` of the deal's trace is made of, and its proof.
    function leafAt(uint256 position, uint256 steps) internal view returns (LeafProof memory leaf) {
        if (position != 0 && odd.position == position) {
            leaf = odd;
        } else {
            leaf.position = position;
            leaf.step = FIRST + position;
            leaf.stateRoot = position == 0
                ? demand(1).inputRoot
                : position == steps ? newCommitment(0).resultRoot : keccak256(abi.encode("state", position));
            leaf.done = position == steps ? 1 : 0;
        }
        leaf.proof = proofOf(position);
    }

    function proofOf(uint256 position) internal view returns (bytes32[] memory proof) {
        if (layers.length == 0) return proof;
        proof = new bytes32[](layers.length - 1);
        for (uint256 i = 0; i < proof.length; ++i) {
            proof[i] = layers[i][(position >> i) ^ 1];
        }
    }

    /// @dev The nodes at most three levels below node number `index` at a height.
    function below(uint256 height, uint256 index) internal view returns (bytes32[] memory nodes) {
        uint256 levels = height < 3 ? height : 3;
        nodes = new bytes32[](1 << levels);
        for (uint256 i = 0; i < nodes.length; ++i) {
            nodes[i] = layers[height - levels][(index << levels) + i];
        }
    }

    function leafOf(File memory file, Grounds memory grounds)
        internal
        view
        override
        returns (bytes32, bytes32[] memory)
    {
        if (grounds.result.stepCount == 1) return claimed(file.deal, grounds);
        uint256 position = (file.kind == uint8(Kind.AUDIT) ? audited : file.step) - FIRST + 1;
        return (layers[0][position], proofOf(position));
    }

    /// @dev Makes the tree of a deal's leaves, and returns its root.
    function grow(bytes32 dealId, uint256 steps) internal returns (bytes32) {
        delete layers;
        uint256 height = Files.height(steps);
        bytes32[] memory layer = new bytes32[](1 << height);
        for (uint256 i = 0; i < layer.length; ++i) {
            layer[i] = planted[i];
            if (layer[i] == 0) layer[i] = i > steps ? Trace.EMPTY : hashOf(dealId, leafAt(i, steps));
        }
        layers.push(layer);
        while (layer.length > 1) {
            bytes32[] memory above = new bytes32[](layer.length / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = keccak256(abi.encode(Trace.NODE, layer[2 * i], layer[2 * i + 1]));
            }
            layers.push(above);
            layer = above;
        }
        return layer[0];
    }

    function hashOf(bytes32 dealId, LeafProof memory leaf) private pure returns (bytes32) {
        return Trace.leaf(dealId, leaf.step, leaf.stateRoot, leaf.exit, leaf.stdoutRoot, leaf.done);
    }

    /// @dev What a commit posts: all leaves, or the root with the proofs of the ends.
    function traceOf(uint256 steps, bytes32 root) internal view returns (bytes32[] memory trace) {
        if (steps <= Trace.POSTED_STEPS) {
            trace = new bytes32[](steps + 1);
            for (uint256 i = 0; i <= steps; ++i) {
                trace[i] = layers[0][i];
            }
            return trace;
        }
        return provedEnds(steps, root);
    }

    /// @dev The root with the proofs of the first and the last leaf.
    function provedEnds(uint256 steps, bytes32 root) internal view returns (bytes32[] memory trace) {
        bytes32[] memory first = proofOf(0);
        bytes32[] memory last = proofOf(steps);
        trace = new bytes32[](1 + 2 * first.length);
        trace[0] = root;
        for (uint256 i = 0; i < first.length; ++i) {
            trace[1 + i] = first[i];
            trace[1 + first.length + i] = last[i];
        }
    }
}
