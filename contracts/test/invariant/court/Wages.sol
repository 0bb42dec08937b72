// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Kind, Verdict, Vote} from "../../../src/types/Case.sol";
import {Dispute} from "./Books.sol";
import {Draws} from "./Draws.sol";
import {Temper} from "./People.sol";

/// @notice What arbiters say, and what they have for it once the case has ended.
abstract contract Wages is Draws {
    /// @dev One seat of a committee; once it is paid, what that has changed.
    struct Seated {
        address who;
        bool silent;
        bool right;
        uint256 stake;
        uint256 earned;
        uint256 lost;
    }

    uint8 private constant REVEALED = 3;

    /// @dev Colluders convict who is honest, by the leaf that wrong challengers show, and cover who is not.
    function _voteOf(uint256 c, address who) internal view returns (Vote vote, bytes32 leaf) {
        Dispute storage d = _disputes[c];
        (vote, leaf) = truth(d.deal, d.file.kind, d.position);
        Temper temper = temperOf(who);
        if (temper == Temper.HONEST) return (vote, leaf);
        bool data = d.file.kind == uint8(Kind.DATA);
        if (temper == Temper.LAZY || vote != Vote.UPHOLD) {
            return (Vote.UPHOLD, data ? bytes32(0) : leafAt(d.deal, d.position));
        }
        if (data) return (Vote.UNAVAILABLE, 0);
        return (Vote.OVERTURN, isExact(d.deal) ? nonsense(d.deal) : bytes32(0));
    }

    /* PAID */

    function _payCommittee(uint256 which) internal {
        for (uint256 i = 0; i < _disputes.length; ++i) {
            uint256 c = addmod(which, i, _disputes.length);
            if (!_isOwing(c)) continue;
            _payRound(c);
            _did("pay a committee");
            return;
        }
    }

    function _isOwing(uint256 c) internal view returns (bool) {
        Dispute storage d = _disputes[c];
        if (!d.ended) return false;
        (address who,) = court.seatOf(poolOf(d), idOf(d), d.paidRounds, 0);
        return who != address(0);
    }

    function _payRound(uint256 c) internal {
        Dispute storage d = _disputes[c];
        Seated[] memory seats = _seatsOf(c, d.paidRounds);
        vm.prank(STRANGER);
        court.payCommittee(poolOf(d), idOf(d), d.paidRounds++);
        uint256 fee = 0;
        for (uint256 i = 0; i < seats.length; ++i) {
            (uint96 stake, uint96 fees,,) = pools.arbiterOf(poolOf(d), seats[i].who);
            (seats[i].earned, seats[i].lost) = (fees - seats[i].earned, seats[i].stake - stake);
            if (seats[i].earned > fee) fee = seats[i].earned;
        }
        for (uint256 i = 0; i < seats.length; ++i) {
            _paidFor(c, seats[i], fee);
        }
    }

    /// @dev The fee is what a seat of the round has earned; where none has, nothing is known of it.
    function _paidFor(uint256 c, Seated memory seat, uint256 fee) private view {
        bool judged = _disputes[c].fair && _isJudged(c);
        if (seat.silent || (judged && !seat.right)) {
            vm.assertEq(seat.earned, 0, "who is silent or wrong earns nothing");
            uint256 due = fee < seat.stake ? fee : seat.stake;
            if (fee != 0) vm.assertEq(seat.lost, due, "who is silent or wrong loses a fee");
        } else if (judged || !_isJudged(c)) {
            vm.assertEq(seat.earned, fee, "who says what the committee finds has its fee");
            vm.assertEq(seat.lost, 0, "and loses nothing");
        }
    }

    /// @dev Whether a committee has ended the case, and nothing else.
    function _isJudged(uint256 c) private view returns (bool) {
        (, Verdict verdict,,,,) = court.caseOf(idOf(_disputes[c]));
        return verdict == Verdict.UPHELD || verdict == Verdict.OVERTURNED || verdict == Verdict.VOID;
    }

    /// @dev A round's seats, with what each has now.
    function _seatsOf(uint256 c, uint8 round) private view returns (Seated[] memory seats) {
        Dispute storage d = _disputes[c];
        (bytes32 id, bytes32 pool_) = (idOf(d), poolOf(d));
        (Vote found, bytes32 leaf) = truth(d.deal, d.file.kind, d.position);
        uint8 number = 0;
        for (address who = STRANGER; who != address(0); ++number) {
            (who,) = court.seatOf(pool_, id, round, number + 1);
        }
        seats = new Seated[](number);
        for (uint8 i = 0; i < number; ++i) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, i);
            (Vote vote, bytes32 said) = _voteOf(c, who);
            (uint96 stake, uint96 fees,,) = pools.arbiterOf(pool_, who);
            seats[i] = Seated(who, state != REVEALED, vote == found && said == leaf, stake, fees, 0);
        }
    }
}
