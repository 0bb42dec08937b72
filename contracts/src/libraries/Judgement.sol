// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Verdict, Vote} from "../types/Case.sol";

/// @notice Counting of votes and sharing of money: arithmetic only, nothing read or written.
/// @dev A finding is a vote with its leaf in one word: vote 8 | low 208 bits of the leaf.
library Judgement {
    /// @notice Rounds of the ladder 3, 7, 15.
    uint256 internal constant LAST_SIZE = 2;

    uint256 private constant LEAF = type(uint208).max;
    uint256 private constant VOTE_AT = 208;

    /// @notice Seats of a committee of size 0, 1, 2.
    function seats(uint256 size) internal pure returns (uint256) {
        return (4 << size) - 1;
    }

    function finding(Vote vote, bytes32 leaf) internal pure returns (uint256) {
        return (uint256(vote) << VOTE_AT) | (uint256(leaf) & LEAF);
    }

    function voteOf(uint256 finding_) internal pure returns (Vote) {
        return Vote(finding_ >> VOTE_AT);
    }

    /// @notice What a finding holds of its leaf.
    function leafOf(uint256 finding_) internal pure returns (bytes32) {
        return bytes32(finding_ & LEAF);
    }

    /// @notice Whether the leaf of a finding is this one.
    function finds(uint256 finding_, bytes32 leaf) internal pure returns (bool) {
        return finding_ & LEAF == uint256(leaf) & LEAF;
    }

    /// @notice Two thirds of the seats, rounded up, or what a named set agreed on.
    function needed(uint256 seats_, uint256 quorum) internal pure returns (uint256) {
        return quorum == 0 ? (2 * seats_ + 2) / 3 : quorum;
    }

    /// @notice The finding that most seats share, how many, and how many seats say anything valid.
    /// @param findings Zero where none was revealed; changed: what makes no sense becomes zero.
    /// @param exact An OVERTURN must carry another leaf than the claimed one; else it carries none.
    /// @param onData The question is only whether bytes can be had.
    function tally(uint256[] memory findings, bytes32 claimed, bool exact, bool onData)
        internal
        pure
        returns (uint256 most, uint256 count, uint256 valid)
    {
        for (uint256 i = 0; i < findings.length; ++i) {
            if (!makesSense(findings[i], claimed, exact, onData)) findings[i] = 0;
        }
        for (uint256 i = 0; i < findings.length; ++i) {
            if (findings[i] == 0) continue;
            ++valid;
            uint256 same = 0;
            for (uint256 j = 0; j < findings.length; ++j) {
                if (findings[j] == findings[i]) ++same;
            }
            if (same > count) (most, count) = (findings[i], same);
        }
    }

    function makesSense(uint256 finding_, bytes32 claimed, bool exact, bool onData)
        internal
        pure
        returns (bool)
    {
        Vote vote = voteOf(finding_);
        if (vote == Vote.NONE) return false;
        if (vote == Vote.UPHOLD) return finds(finding_, onData ? bytes32(0) : claimed);
        if (vote != Vote.OVERTURN) return finds(finding_, 0);
        if (onData) return false;
        return exact ? !finds(finding_, claimed) && !finds(finding_, 0) : finds(finding_, 0);
    }

    /// @notice What a finding that enough seats share means for the deal.
    function verdictOf(uint256 finding_) internal pure returns (Verdict) {
        Vote vote = voteOf(finding_);
        if (vote == Vote.UPHOLD) return Verdict.UPHELD;
        return vote == Vote.UNREPRODUCIBLE ? Verdict.VOID : Verdict.OVERTURNED;
    }

    /// @notice The fee per seat: what was agreed, as far as the pot goes.
    function fee(uint256 agreed, uint256 pot, uint256 seats_) internal pure returns (uint256) {
        if (seats_ == 0) return 0;
        uint256 share = pot / seats_;
        return agreed < share ? agreed : share;
    }

    /// @notice Of a lost fraud bond, what may be paid out at all: three fifths; the rest is burned.
    function spendable(uint256 fraudBond) internal pure returns (uint256) {
        return fraudBond - (2 * fraudBond + 4) / 5;
    }

    /// @notice What the winners share, at most `left`: first their gas, then the bounty.
    function rewards(uint256 fraudBond, uint256 price, uint256 gasAllowance, uint256 left)
        internal
        pure
        returns (uint256 gas, uint256 bounty)
    {
        gas = gasAllowance < left ? gasAllowance : left;
        bounty = fraudBond / 4 < price ? fraudBond / 4 : price;
        if (bounty > left - gas) bounty = left - gas;
    }
}
