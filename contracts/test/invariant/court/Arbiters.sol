// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Duty} from "../../../src/interfaces/IPools.sol";
import {Files} from "../../../src/libraries/Files.sol";
import {CasePhase, File, Grounds, Kind, Verdict, Vote} from "../../../src/types/Case.sol";
import {Dispute} from "./Books.sol";
import {Temper} from "./People.sol";
import {Wages} from "./Wages.sol";

/// @notice Honest, lazy, absent and colluding arbiters vote, are counted, rest, take their fees, and strike.
abstract contract Arbiters is Wages {
    uint256 internal constant ARBITER_MOVES = 6;

    /// @notice While arbiters strike, nobody votes.
    bool public striking;

    function _arbiterMove(uint256 n, uint256 which, uint256 seed) internal {
        if (n == 0) _drawTurn(which);
        else if (n == 1) _voteTurn(which, seed);
        else if (n == 2) _revealTurn(which, seed);
        else if (n == 3) _collect(which);
        else if (n == 4) _rest(which);
        else _strikeOrNot(seed);
    }

    /* VOTES */

    function _drawTurn(uint256 which) private {
        (bool found, uint256 c) = _find(which, CasePhase.DRAWING);
        if (!found) return;
        if (which % 4 == 0) _mineTo(_timeOf(c) + HASHES_KEPT + 1); // nobody has drawn in time
        _drawFrom(c, CasePhase.DRAWING);
    }

    function _voteTurn(uint256 which, uint256 seed) private {
        (bool found, uint256 c) = _find(which, CasePhase.VOTING);
        if (!found) return;
        uint256 voteBy = _timeOf(c);
        if (block.timestamp > voteBy) return _revealOrResolve(c, 1 + seed % 15);
        if (_castAll(c, 1 + seed % 15) != 0) _did("vote");
        else _passTo(voteBy + 1);
    }

    function _revealTurn(uint256 which, uint256 seed) private {
        (bool found, uint256 c) = _find(which, CasePhase.REVEALING);
        if (found) _revealOrResolve(c, 1 + seed % 15);
    }

    function _revealOrResolve(uint256 c, uint256 most) private {
        uint256 over = _timeOf(c) + (_isIn(c, CasePhase.VOTING) ? _clocks.revealTime : 0);
        if (block.timestamp <= over && _revealAll(c, most) != 0) return _did("reveal");
        if (!_votesIn(c)) _passTo(over + 1);
        if (_votesIn(c)) _resolve(c);
    }

    function _resolve(uint256 c) private {
        Dispute storage d = _disputes[c];
        (bool fair, bool agreed, bool enough) = _votes(c);
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        court.resolve(file, grounds, leaf, proof);
        _note(c);
        (CasePhase phase, Verdict verdict,,,,) = court.caseOf(idOf(d));
        if (phase == CasePhase.DECIDED) {
            bool split = verdict == Verdict.SPLIT || (verdict == Verdict.VOID && enough);
            vm.assertTrue(agreed || split, "fewer than two thirds decide nothing");
            d.fair = fair && block.timestamp + _clocks.appealTime < _lastOf(d.deal);
            _did("resolve");
        } else {
            _did("redraw");
        }
    }

    /// @dev Up to `most` seats cast; says how many have.
    function _castAll(uint256 c, uint256 most) internal returns (uint256 done) {
        if (striking) return 0;
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        for (uint8 seat = 0; seat < seats && done < most; ++seat) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, seat);
            vm.assertTrue(!_isContender(c, who), "parties do not judge");
            if (state != 1 || _isAbsent(who)) continue;
            (Vote vote, bytes32 leaf) = _voteOf(c, who);
            bytes32 hidden = keccak256(abi.encode(Files.VOTE, id, uint256(round), vote, leaf, SALT, who));
            vm.prank(_handOf(who));
            court.castVote(pool_, id, seat, hidden);
            ++done;
        }
        _note(c);
    }

    function _revealAll(uint256 c, uint256 most) internal returns (uint256 done) {
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        for (uint8 seat = 0; seat < seats && done < most; ++seat) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state != 2) continue;
            (Vote vote, bytes32 leaf) = _voteOf(c, who);
            vm.prank(_handOf(who));
            court.revealVote(pool_, id, seat, vote, leaf, SALT);
            ++done;
        }
        _note(c);
    }

    function _isContender(uint256 c, address who) private view returns (bool found) {
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            if (_contenders[c][i].who == who) found = true;
        }
    }

    function _isAbsent(address who) private returns (bool absent) {
        Temper temper = temperOf(who);
        absent = temper == Temper.ABSENT;
        if (absent) _see("absent arbiter");
        if (temper == Temper.LAZY) _see("lazy arbiter");
        if (temper == Temper.COLLUDING) _see("colluding arbiter");
    }

    /* COUNTS */

    /// @dev All who have cast have revealed, or it is too late for it.
    function _votesIn(uint256 c) private view returns (bool) {
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        (uint256 cast, uint256 revealed) = (0, 0);
        for (uint8 seat = 0; seat < seats; ++seat) {
            (, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state > 1) ++cast;
            if (state > 2) ++revealed;
        }
        uint256 over = _timeOf(c);
        if (_isIn(c, CasePhase.VOTING)) over += cast == 0 ? 0 : _clocks.revealTime;
        else if (cast == revealed) return true;
        return block.timestamp > over;
    }

    /// @dev Whether those who say the truth are enough for a verdict of this round, whether those who say the same are, and
    /// whether all who say anything are.
    function _votes(uint256 c) private view returns (bool fair, bool agreed, bool enough) {
        bytes32[] memory said = _said(c);
        (Vote vote, bytes32 leaf) = truth(_disputes[c].deal, _disputes[c].file.kind, _disputes[c].position);
        bytes32 right = keccak256(abi.encode(vote, leaf));
        uint256 quorum = _grounds[_disputes[c].deal].rules.quorum;
        uint256 needed = quorum == 0 ? (2 * said.length + 2) / 3 : quorum;
        uint256 revealed = 0;
        for (uint256 i = 0; i < said.length; ++i) {
            if (said[i] == 0) continue;
            ++revealed;
            if (_times(said, said[i]) >= needed) agreed = true;
        }
        return (_times(said, right) >= needed, agreed, revealed >= needed);
    }

    /// @dev What each seat of this round has revealed; zero where nothing.
    function _said(uint256 c) private view returns (bytes32[] memory said) {
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        said = new bytes32[](seats);
        for (uint8 seat = 0; seat < seats; ++seat) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state != 3) continue;
            (Vote vote, bytes32 leaf) = _voteOf(c, who);
            said[seat] = keccak256(abi.encode(vote, leaf));
        }
    }

    function _times(bytes32[] memory said, bytes32 what) private pure returns (uint256 times) {
        for (uint256 i = 0; i < said.length; ++i) {
            if (said[i] == what) ++times;
        }
    }

    /* COMING AND GOING */

    function _collect(uint256 which) private {
        (, uint96 fees,,) = pools.arbiterOf(pool, arbiter(which));
        if (fees == 0) return;
        vm.prank(arbiter(which));
        pools.collect(pool);
        _did("collect");
    }

    /// @dev One honest arbiter at a time leaves and comes back.
    function _rest(uint256 which) private {
        if (temperOf(arbiter(which)) != Temper.HONEST || which % 3 != 0) return;
        (uint32 active,) = pools.poolOf(pool);
        (,, Duty duty, uint40 readyAt) = pools.arbiterOf(pool, arbiter(which));
        if (duty == Duty.ACTIVE) {
            if (active < ARBITERS) return;
            vm.prank(arbiter(which));
            pools.beginLeave(pool);
        } else {
            if (block.timestamp < readyAt) return;
            vm.prank(arbiter(which));
            pools.leave(pool);
            _enroll(arbiter(which));
        }
        _did("rest");
    }

    /// @dev Now and then no arbiter votes at all.
    function _strikeOrNot(uint256 seed) private {
        bool begins = seed % 5 == 0;
        if (begins == striking) return;
        _strike(begins);
        _did("strike");
    }

    function _strike(bool begins) internal {
        striking = begins;
    }

    /// @notice All arbiters take what is theirs; afterwards the court must have nothing.
    function leaveAll() external {
        for (uint256 i = 0; i < ARBITERS; ++i) {
            (,, Duty duty,) = pools.arbiterOf(pool, arbiter(i));
            if (duty == Duty.LEAVING) continue;
            vm.prank(arbiter(i));
            pools.beginLeave(pool);
        }
        vm.warp(block.timestamp + _clocks.leaveTime);
        for (uint256 i = 0; i < ARBITERS; ++i) {
            (, uint96 fees,,) = pools.arbiterOf(named, arbiter(i));
            vm.startPrank(arbiter(i));
            pools.leave(pool);
            pools.collect(pool);
            if (fees != 0) pools.collect(named);
            vm.stopPrank();
        }
    }
}
