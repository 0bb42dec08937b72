// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Files} from "../../../src/libraries/Files.sol";
import {Trace} from "../../../src/libraries/Trace.sol";
import {Kind, LeafProof, Verdict, Vote} from "../../../src/types/Case.sol";
import {Class} from "../../../src/types/Rules.sol";
import {Books, Dealing, Fault} from "./Books.sol";

/// @notice What executions give, what providers have committed instead, and what one finds who looks.
abstract contract Truth is Books {
    /// @notice What one who looks at a leaf finds.
    function truth(uint256 deal, uint256 kind, uint256 position)
        internal
        view
        returns (Vote vote, bytes32 leaf)
    {
        Dealing storage d = _deals[deal];
        bool faulty = d.at == position && d.fault != Fault.NONE && d.fault != Fault.SILENT;
        if (kind == uint256(Kind.DATA)) {
            return (faulty && d.fault == Fault.MISSING ? Vote.UNAVAILABLE : Vote.UPHOLD, 0);
        }
        if (!faulty) return (Vote.UPHOLD, leafAt(deal, position));
        if (d.fault == Fault.MISSING) return (Vote.UNAVAILABLE, 0);
        if (d.fault == Fault.UNSTABLE) return (Vote.UNREPRODUCIBLE, 0);
        return (Vote.OVERTURN, isExact(deal) ? rightLeaf(deal, position) : bytes32(0));
    }

    function verdictOf(Vote vote) internal pure returns (Verdict) {
        if (vote == Vote.UPHOLD) return Verdict.UPHELD;
        return vote == Vote.UNREPRODUCIBLE ? Verdict.VOID : Verdict.OVERTURNED;
    }

    /* LEAVES */

    /// @notice What a deal's execution gives at a place of its trace.
    function rightLeaf(uint256 deal, uint256 position) internal view returns (bytes32) {
        return _leaf(deal, position, 0, stateAt(deal, position, false));
    }

    /// @notice What the provider has committed there.
    function leafAt(uint256 deal, uint256 position) internal view returns (bytes32) {
        (uint256 offset, bool wrong) = _faultAt(deal, position);
        return _leaf(deal, position, offset, stateAt(deal, position, wrong));
    }

    /// @notice The same, with all that is in it.
    function leafProof(uint256 deal, uint256 position) internal view returns (LeafProof memory) {
        (uint256 offset, bool wrong) = _faultAt(deal, position);
        return LeafProof({
            position: position,
            step: firstStepOf(deal) + position + offset,
            stateRoot: stateAt(deal, position, wrong),
            exit: 0,
            stdoutRoot: 0,
            done: 0,
            proof: proofIn(tree(deal), position)
        });
    }

    /// @notice What a wrong challenger and a colluding arbiter have agreed on.
    function nonsense(uint256 deal) internal pure returns (bytes32) {
        return keccak256(abi.encode("nonsense", deal));
    }

    function stateAt(uint256 deal, uint256 position, bool wrong) internal view returns (bytes32) {
        if (position == 0) return _grounds[deal].demand.inputRoot;
        return keccak256(abi.encode("state", deal, position, wrong));
    }

    /* TREES */

    /// @notice All nodes of the trace's tree, from 1 as in a heap.
    function tree(uint256 deal) internal view returns (bytes32[] memory nodes) {
        uint256 k = stepsOf(deal);
        uint256 width = 1 << Files.height(k);
        nodes = new bytes32[](2 * width);
        for (uint256 i = 0; i < width; ++i) {
            nodes[width + i] = i <= k ? leafAt(deal, i) : Trace.EMPTY;
        }
        for (uint256 i = width - 1; i > 0; --i) {
            nodes[i] = Trace.node(nodes[2 * i], nodes[2 * i + 1]);
        }
    }

    function proofIn(bytes32[] memory nodes, uint256 position)
        internal
        pure
        returns (bytes32[] memory proof)
    {
        uint256 height = 0;
        for (uint256 at = nodes.length / 2 + position; at > 1; at >>= 1) {
            ++height;
        }
        proof = new bytes32[](height);
        uint256 node = nodes.length / 2 + position;
        for (uint256 i = 0; i < height; ++i) {
            proof[i] = nodes[node ^ 1];
            node >>= 1;
        }
    }

    /// @notice What is posted with a result of more than one step: all leaves, or the root and both ends' proofs.
    function postedOf(bytes32[] memory nodes, uint256 steps) internal pure returns (bytes32[] memory trace) {
        if (steps <= Trace.POSTED_STEPS) {
            trace = new bytes32[](steps + 1);
            for (uint256 i = 0; i <= steps; ++i) {
                trace[i] = nodes[nodes.length / 2 + i];
            }
            return trace;
        }
        bytes32[] memory first = proofIn(nodes, 0);
        bytes32[] memory last = proofIn(nodes, steps);
        trace = new bytes32[](1 + 2 * first.length);
        trace[0] = nodes[1];
        for (uint256 i = 0; i < first.length; ++i) {
            (trace[1 + i], trace[1 + first.length + i]) = (first[i], last[i]);
        }
    }

    /* DEMANDS */

    function stepsOf(uint256 deal) internal view returns (uint256) {
        return uint32(_grounds[deal].demand.steps);
    }

    function firstStepOf(uint256 deal) internal view returns (uint256) {
        return uint32(_grounds[deal].demand.steps >> 32);
    }

    function isExact(uint256 deal) internal view returns (bool) {
        return _grounds[deal].rules.class_ == uint8(Class.EXACT);
    }

    /// @notice Whether a deal has rules at all; else nobody can dispute it.
    function isRuled(uint256 deal) internal view returns (bool) {
        return _grounds[deal].rules.class_ != uint8(Class.NONE);
    }

    /* PARTS */

    function _faultAt(uint256 deal, uint256 position) private view returns (uint256 offset, bool wrong) {
        Dealing storage d = _deals[deal];
        if (d.at != position) return (0, false);
        return (d.fault == Fault.MALFORMED ? 7 : 0, d.fault == Fault.WRONG);
    }

    function _leaf(uint256 deal, uint256 position, uint256 offset, bytes32 state)
        private
        view
        returns (bytes32)
    {
        uint256 done = position == stepsOf(deal) ? 1 : 0;
        uint256 step = firstStepOf(deal) + position + offset;
        return Trace.leaf(_deals[deal].claim.dealId, step, state, 0, 0, done);
    }
}
