// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Judgement} from "../../src/libraries/Judgement.sol";
import {Verdict, Vote} from "../../src/types/Case.sol";

/// @notice What an arbiter can say, whatever it sends.
/// @dev For halmos, see `make symbolic`.
contract FindingsTest {
    uint256 private constant LIMIT = (uint256(type(Vote).max) + 1) << 208;

    /// @dev What makes sense: in class EXACT a leaf that contradicts, else none; of bytes only whether they can be had.
    function check_SenseIsOneOfFour(uint256 finding, bytes32 claimed, bool exact, bool onData) external pure {
        if (finding >= LIMIT || !Judgement.makesSense(finding, claimed, exact, onData)) return;
        Vote vote = Judgement.voteOf(finding);
        bytes32 leaf = Judgement.leafOf(finding);
        bytes32 low = bytes32(uint256(claimed) & type(uint208).max);
        assert(vote != Vote.NONE);
        if (vote == Vote.UPHOLD) assert(leaf == (onData ? bytes32(0) : low));
        if (vote == Vote.UNREPRODUCIBLE || vote == Vote.UNAVAILABLE) assert(leaf == 0);
        if (vote == Vote.OVERTURN) assert(!onData && (exact ? leaf != low && leaf != 0 : leaf == 0));
    }

    function check_AFindingIsAVoteAndALeaf(uint8 vote, bytes32 leaf) external pure {
        if (vote > uint8(type(Vote).max)) return;
        uint256 finding = Judgement.finding(Vote(vote), leaf);
        assert(uint8(Judgement.voteOf(finding)) == vote && Judgement.finds(finding, leaf));
        Verdict verdict = Judgement.verdictOf(finding);
        assert((verdict == Verdict.UPHELD) == (Vote(vote) == Vote.UPHOLD));
        assert((verdict == Verdict.VOID) == (Vote(vote) == Vote.UNREPRODUCIBLE));
    }
}
