// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IStakes} from "../../src/interfaces/IStakes.sol";
import {CasePhase, File, Grounds, Verdict, Vote} from "../../src/types/Case.sol";
import {Class} from "../../src/types/Rules.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Who may vote, when, and what a vote may say.
contract BallotsTest is CourtTest {
    bytes32 private constant HIDDEN = keccak256("hidden");

    /* WHO */

    function test_AHotKeyVotesForItsArbiter() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        (address arbiter,) = court.seatOf(POOL, id, 0, 0);
        vm.prank(arbiter);
        market.setHotKey(hotKey.addr, 1);
        vm.prank(hotKey.addr);
        court.castVote(POOL, id, 0, voteOf(id, 0, Vote.OVERTURN, RIGHT, arbiter));
        cast(id, 1, Vote.OVERTURN, RIGHT);
        cast(id, 2, Vote.OVERTURN, RIGHT);
        vm.prank(hotKey.addr);
        court.revealVote(POOL, id, 0, Vote.OVERTURN, RIGHT, SALT);
        assertSeat(id, 0, 3);
    }

    function test_AStrangeKeyVotesForNobody() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        (address arbiter,) = court.seatOf(POOL, id, 0, 0);
        (address neighbour,) = court.seatOf(POOL, id, 0, 1);
        vm.prank(neighbour);
        market.setHotKey(hotKey.addr, 1);
        address[3] memory strange = [hotKey.addr, neighbour, stranger.addr];
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(strange[i]);
            vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, strange[i], arbiter));
            court.castVote(POOL, id, 0, HIDDEN);
        }
    }

    function test_AKeyThatWasTakenBackVotesNoMore() external {
        (File memory file,) = voting(RIGHT);
        (address arbiter,) = court.seatOf(POOL, idOf(file), 0, 0);
        vm.prank(arbiter);
        market.setHotKey(hotKey.addr, 1);
        vm.prank(arbiter);
        market.setHotKey(hotKey.addr, 0);
        vm.prank(hotKey.addr);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, hotKey.addr, arbiter));
        court.castVote(POOL, idOf(file), 0, HIDDEN);
    }

    function test_OneVoteForASeat() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        (address arbiter,) = court.seatOf(POOL, id, 0, 0);
        refuseCast(id, POOL, 0, arbiter, notYourSeat(0));
        refuseCast(id, POOL, 3, arbiter, notYourSeat(3));
        refuseCast(id, keccak256("another pool"), 1, arbiter, notYourSeat(1));
    }

    /* WHEN */

    function test_NothingIsRevealedWhileVotesAreCast() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        refuseReveal(id, 0, Vote.OVERTURN, wrongPhase(id, CasePhase.VOTING));
        vm.warp(clockOf(id));
        refuseReveal(id, 0, Vote.OVERTURN, wrongPhase(id, CasePhase.VOTING));
    }

    function test_LateVotesAreNotTaken() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        uint40 voteBy = clockOf(id);
        vm.assertEq(voteBy, block.timestamp + VOTE_TIME + 2 * STEP_SECONDS + 10);
        passClock(id);
        (address arbiter,) = court.seatOf(POOL, id, 0, 0);
        refuseCast(id, POOL, 0, arbiter, abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, voteBy));
    }

    function test_LateRevealsAreNotTaken() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        for (uint8 i = 0; i < 3; ++i) {
            cast(id, i, Vote.OVERTURN, RIGHT);
        }
        uint40 revealBy = clockOf(id);
        vm.assertEq(revealBy, block.timestamp + REVEAL_TIME);
        reveal(id, 0, Vote.OVERTURN, RIGHT);
        refuseResolve(file, grounds, revealBy);
        passClock(id);
        refuseReveal(id, 1, Vote.OVERTURN, abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, revealBy));
        resolve(file, grounds); // one of three is no verdict
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    function test_WhoHasNotCastDoesNotReveal() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        passClock(id);
        refuseReveal(id, 1, Vote.OVERTURN, abi.encodeWithSelector(IDisputeCourt.BadOpening.selector));
        refuseReveal(id, 0, Vote.UNAVAILABLE, abi.encodeWithSelector(IDisputeCourt.BadOpening.selector));
        reveal(id, 0, Vote.OVERTURN, RIGHT);
        refuseReveal(id, 0, Vote.OVERTURN, abi.encodeWithSelector(IDisputeCourt.BadOpening.selector));
    }

    function test_OnceAllAreRevealedNobodyWaits() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        assertCase(file, CasePhase.DECIDED, Verdict.OVERTURNED);
    }

    function test_VotesThatMayStillComeAreWaitedFor() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        uint40 voteBy = clockOf(id);
        refuseResolve(file, grounds, voteBy);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        vm.warp(uint256(voteBy) + 1);
        refuseResolve(file, grounds, voteBy + REVEAL_TIME);
        reveal(id, 0, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    /* WHAT */

    function test_TwoOfThreeAreEnough() external {
        assertFound(Vote.OVERTURN, RIGHT, Vote.UPHOLD, Verdict.OVERTURNED);
    }

    function test_TwoThatUpholdAreEnough() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        (bytes32 leaf,) = leafOf(file, grounds);
        vote(file, Vote.UPHOLD, leaf, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        assertCase(file, CasePhase.DECIDED, Verdict.UPHELD);
    }

    function test_TwoThatCannotReproduceAreEnough() external {
        assertFound(Vote.UNREPRODUCIBLE, 0, Vote.UPHOLD, Verdict.VOID);
    }

    function test_TwoThatCannotFetchAreEnough() external {
        assertFound(Vote.UNAVAILABLE, 0, Vote.UPHOLD, Verdict.OVERTURNED);
    }

    function test_WhatMakesNoSenseIsNoVote() external {
        assertSenseless(Vote.UPHOLD, keccak256("not the committed leaf"));
        assertSenseless(Vote.OVERTURN, 0); // without the leaf as it should be
        assertSenseless(Vote.UNREPRODUCIBLE, RIGHT);
        assertSenseless(Vote.UNAVAILABLE, RIGHT);
        assertSenseless(Vote.NONE, 0);
    }

    function test_ToOverturnWithTheCommittedLeafMakesNoSense() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        (bytes32 leaf,) = leafOf(file, grounds);
        vote(file, Vote.OVERTURN, leaf, Vote.OVERTURN, leaf);
        resolve(file, grounds);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    function test_WhereResultsMayDifferALeafMakesNoSense() external {
        rules = newRules(Class.TOLERANCE);
        assertSenseless(Vote.OVERTURN, RIGHT);
        assertFound(Vote.OVERTURN, 0, Vote.UPHOLD, Verdict.OVERTURNED);
    }

    function test_NobodyVotesOnAnotherLeaf() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        allVote(idOf(file), Vote.UPHOLD, RIGHT);
        (, bytes32[] memory proof) = leafOf(file, grounds);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.resolve(file, grounds, RIGHT, proof);
    }

    /* CLOCKS OF ANY LENGTH */

    /// @dev A state of sixteen exbibytes takes longer to fetch than a clock can say: what the case counts stays right.
    function test_AnEndlessClockTouchesNoCount() external {
        rules.maxStateBytes = type(uint64).max;
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        vm.assertEq(clockOf(idOf(file)), type(uint40).max);
        (bytes32 leaf,) = leafOf(file, grounds);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        vm.assertEq(market.totalBurned(), BOND - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
    }

    /* MOVES */

    function vote(File memory file, Vote two, bytes32 theirs, Vote one, bytes32 its) private {
        bytes32 id = idOf(file);
        cast(id, 0, two, theirs);
        cast(id, 1, one, its);
        cast(id, 2, two, theirs);
        reveal(id, 0, two, theirs);
        reveal(id, 1, one, its);
        reveal(id, 2, two, theirs);
    }

    function assertFound(Vote two, bytes32 leaf, Vote one, Verdict expected) private {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        (bytes32 committed,) = leafOf(file, grounds);
        vote(file, two, leaf, one, committed);
        resolve(file, grounds);
        assertCase(file, CasePhase.DECIDED, expected);
    }

    function assertSenseless(Vote said, bytes32 leaf) private {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        allVote(idOf(file), said, leaf);
        resolve(file, grounds);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    function refuseCast(bytes32 id, bytes32 pool, uint8 seat, address by, bytes memory why) private {
        vm.prank(by);
        vm.expectRevert(why);
        court.castVote(pool, id, seat, HIDDEN);
    }

    function refuseReveal(bytes32 id, uint8 seat, Vote said, bytes memory why) private {
        (address arbiter,) = court.seatOf(POOL, id, 0, seat);
        vm.prank(arbiter);
        vm.expectRevert(why);
        court.revealVote(POOL, id, seat, said, RIGHT, SALT);
    }

    function refuseResolve(File memory file, Grounds memory grounds, uint40 clock) private {
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, clock));
        court.resolve(file, grounds, leaf, proof);
    }

    function assertSeat(bytes32 id, uint8 seat, uint8 expected) private view {
        (, uint8 state) = court.seatOf(POOL, id, 0, seat);
        vm.assertEq(state, expected);
    }

    function notYourSeat(uint8 seat) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputeCourt.NotYourSeat.selector, seat);
    }

    function wrongPhase(bytes32 id, CasePhase phase) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, id, phase);
    }
}
