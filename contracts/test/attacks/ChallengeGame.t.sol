// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../../src/interfaces/IDealMarket.sol";
import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Attacks on the challenge game and on the committee; the numbers are those of docs/attacks.md.
contract ChallengeGameTest is CourtTest {
    function test_Attack13_AFriendsSacrificialChallengeStopsNobody() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        challengeBy(stranger_(), deal, grounds, Kind.STEP, keccak256("nonsense"));
        // The friend's case can no longer be joined, and the window is nearly over.
        vm.roll(block.number + JOIN_BLOCKS + 1);
        vm.warp(uint256(block.timestamp) + deal.terms.window);
        bytes32 id = court.caseIdOf(deal.dealId, Kind.STEP, 0, 1);
        vm.prank(challenger.addr);
        court.challenge(
            deal, grounds.demand, grounds.rules, Kind.STEP, 0, 1, hiddenAnswer(id, RIGHT, challenger.addr)
        );
        (CasePhase phase,,,,,) = court.caseOf(id);
        vm.assertEq(uint256(phase), uint256(CasePhase.OPEN));
    }

    function test_Attack14_EachFurtherCaseCostsTwiceAsMuchAndTheWindowStays() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        (,, uint40 before,) = market.slot(deal.dealId);
        uint256 free = freeOf(challenger.addr);
        for (uint32 serial = 0; serial < 4; ++serial) {
            vm.prank(challenger.addr);
            court.challenge(deal, grounds.demand, grounds.rules, Kind.STEP, 0, serial, RIGHT);
        }
        vm.assertEq(free - freeOf(challenger.addr), 15 * uint256(BOND));
        (,, uint40 afterwards,) = market.slot(deal.dealId);
        vm.assertEq(before, afterwards);
    }

    function test_Attack15_AnAnswerIsHiddenAndBoundToItsSender() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        File memory file = challengeBy(challenger.addr, deal, grounds, Kind.STEP, RIGHT);
        // The copier joins with the very same hidden answer; it cannot show it as its own.
        vm.prank(other.addr);
        court.join(file, grounds.demand, grounds.rules, file.answer);
        passSeedBlock(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = claimed(deal, grounds);
        vm.prank(challenger.addr);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), leaf, proof);
        vm.expectRevert(IDisputeCourt.BadOpening.selector);
        vm.prank(other.addr);
        court.showAnswer(file, grounds, 1, Opening(RIGHT, SALT), leaf, proof);
    }

    function test_Attack16_EachMoveOfAForcedRevealHasAClockOfItsOwn() external {
        // Appeal and voting clocks start with the move that they answer.
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        (,,,,, uint40 voteBy) = court.caseOf(idOf(file));
        vm.warp(voteBy); // the last second still counts, and revealing has its own time
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        (,,,,, uint40 appealBy) = court.caseOf(idOf(file));
        vm.assertEq(appealBy, block.timestamp + APPEAL_TIME);
        Opening[] memory openings = new Opening[](1);
        openings[0] = Opening(RIGHT, SALT);
        vm.warp(appealBy);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, appealBy));
        court.settle(file, grounds, openings);
        vm.prank(provider.addr);
        vm.expectRevert(); // it has no free balance to appeal with, though it is in time
        court.appeal(file, grounds);
    }

    function test_Attack17_NothingMovesAfterTheEnd() external {
        (File memory file, Grounds memory grounds) = judged(Vote.OVERTURN, RIGHT, RIGHT);
        bytes memory closed =
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.CLOSED);
        Opening[] memory openings = new Opening[](1);
        vm.expectRevert(closed);
        court.settle(file, grounds, openings);
        vm.expectRevert(closed);
        court.appeal(file, grounds);
        vm.expectRevert(closed);
        court.castVote(POOL, idOf(file), 0, RIGHT);
        vm.expectRevert();
        vm.prank(challenger.addr);
        court.challenge(file.deal, grounds.demand, grounds.rules, Kind.STEP, 0, 9, RIGHT);
    }

    function test_Attack18_AMoveAnswersOneObjectOnly() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        passSeedBlock(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = claimed(file.deal, grounds);
        // After a reorganisation the case at this id is another one: another bond, answer or opener.
        file.bond += 1;
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.FileMismatch.selector, idOf(file)));
        vm.prank(challenger.addr);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), leaf, proof);
    }

    function test_Attack19_AnybodyEndsWhatBothSidesLeave() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        vm.warp(block.timestamp + 40 days);
        vm.prank(stranger.addr);
        court.settle(file, grounds, new Opening[](1));
        assertCase(file, CasePhase.CLOSED, Verdict.SPLIT);
        assertPhase(file.deal.dealId, Phase.SPLIT);
    }

    function test_Attack22_ChallengersOfOneStepShareCommitteeAndBounty() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        File memory file = challengeBy(challenger.addr, deal, grounds, Kind.STEP, RIGHT);
        bytes32 id = idOf(file);
        vm.prank(other.addr);
        court.join(file, grounds.demand, grounds.rules, hiddenAnswer(id, RIGHT, other.addr));
        passSeedBlock(id);
        (bytes32 leaf, bytes32[] memory proof) = claimed(deal, grounds);
        vm.prank(other.addr);
        court.showAnswer(file, grounds, 1, Opening(RIGHT, SALT), leaf, proof);
        vm.prank(challenger.addr);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), leaf, proof);
        allVote(id, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        (,,,,, uint40 time) = court.caseOf(id);
        vm.warp(uint256(time) + 1);
        Opening[] memory openings = new Opening[](2);
        openings[0] = Opening(RIGHT, SALT);
        openings[1] = Opening(RIGHT, SALT);
        court.settle(file, grounds, openings);
        vm.assertEq(freeOf(challenger.addr), FREE + (PRICE + GAS) / 2);
        vm.assertEq(freeOf(other.addr), FREE + (PRICE + GAS) / 2);
        court.payCommittee(POOL, id, 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_Attack24_ASeedNeedsAHashThatNobodyKnewWhenJoining() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        (,,,,, uint40 seedBlock) = court.caseOf(idOf(file));
        vm.assertEq(seedBlock, block.number + JOIN_BLOCKS);
        vm.roll(uint256(seedBlock) + 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, seedBlock));
        vm.prank(other.addr);
        court.join(file, grounds.demand, grounds.rules, RIGHT);
        // The last one to show cannot wait for another hash: its clock ends while this one is still to be had.
        vm.roll(uint256(seedBlock) + REVEAL_BLOCKS + 1);
        (bytes32 leaf, bytes32[] memory proof) = claimed(file.deal, grounds);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, seedBlock + REVEAL_BLOCKS));
        vm.prank(challenger.addr);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), leaf, proof);
    }

    function test_Attack25_ASmallPoolJudgesNoLargeDeal() external view {
        uint256 most = ARBITERS * uint256(ARBITER_STAKE >> 32 << 32) / 20;
        vm.assertTrue(pools.canJudge(POOL, 0, most));
        vm.assertFalse(pools.canJudge(POOL, 0, most + 1));
        vm.assertFalse(pools.canJudge(keccak256("gpu"), 0, 0));
    }

    function test_Attack26_AVoteCannotBeCopied() external {
        (File memory file,) = voting(RIGHT);
        bytes32 id = idOf(file);
        (address first,) = court.seatOf(POOL, id, 0, 0);
        bytes32 hidden = voteOf(id, 0, Vote.OVERTURN, RIGHT, first);
        for (uint8 i = 0; i < 3; ++i) {
            (address arbiter,) = court.seatOf(POOL, id, 0, i);
            vm.prank(arbiter);
            court.castVote(POOL, id, i, hidden);
        }
        (address copier,) = court.seatOf(POOL, id, 0, 1);
        vm.expectRevert(IDisputeCourt.BadOpening.selector);
        vm.prank(copier);
        court.revealVote(POOL, id, 1, Vote.OVERTURN, RIGHT, SALT);
    }

    function test_Attack27_ALazyUpholdLosesToTheLeaf() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        (bytes32 leaf,) = claimed(file.deal, grounds);
        (address lazy,) = court.seatOf(POOL, id, 0, 0);
        cast(id, 0, Vote.UPHOLD, leaf);
        cast(id, 1, Vote.OVERTURN, RIGHT);
        cast(id, 2, Vote.OVERTURN, RIGHT);
        reveal(id, 0, Vote.UPHOLD, leaf);
        reveal(id, 1, Vote.OVERTURN, RIGHT);
        reveal(id, 2, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        court.payCommittee(POOL, id, 0);
        (uint96 stake, uint96 fees,,) = pools.arbiterOf(POOL, lazy);
        vm.assertEq(stake, ARBITER_STAKE - FEE);
        vm.assertEq(fees, 0);
    }

    function test_Attack28_ABribedCommitteeIsAppealedAndFined() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        (bytes32 leaf,) = claimed(file.deal, grounds);
        allVote(id, Vote.UPHOLD, leaf);
        (address bribed,) = court.seatOf(POOL, id, 0, 0);
        resolve(file, grounds);
        vm.prank(challenger.addr);
        court.appeal(file, grounds);
        draw(file, grounds);
        allVote(id, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        (uint96 before,,,) = pools.arbiterOf(POOL, bribed);
        court.payCommittee(POOL, id, 0);
        (uint96 stake,,,) = pools.arbiterOf(POOL, bribed);
        vm.assertEq(stake, before - FEE);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
    }

    function test_Attack29_NoPartyJudgesItsOwnCase() external {
        address[3] memory parties = [provider.addr, requester.addr, challenger.addr];
        for (uint256 i = 0; i < 3; ++i) {
            deposit(parties[i], 10_000 ether);
            vm.prank(parties[i]);
            pools.enroll(CLASS, 10_000 ether);
        }
        for (uint256 n = 0; n < 4; ++n) {
            (File memory file,) = voting(keccak256(abi.encode(n)));
            for (uint8 seat = 0; seat < 3; ++seat) {
                (address arbiter,) = court.seatOf(POOL, idOf(file), 0, seat);
                for (uint256 i = 0; i < 3; ++i) {
                    vm.assertTrue(arbiter != parties[i] && arbiter != address(0));
                }
            }
        }
    }

    function test_Attack30_AnArbiterCannotLeaveWithItsFine() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        (address absent,) = court.seatOf(POOL, id, 0, 2);
        vm.prank(absent);
        pools.beginLeave(POOL);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        cast(id, 1, Vote.OVERTURN, RIGHT);
        (,,,,, uint40 voteBy) = court.caseOf(id);
        vm.warp(uint256(voteBy) + 1);
        reveal(id, 0, Vote.OVERTURN, RIGHT);
        reveal(id, 1, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        court.payCommittee(POOL, id, 0);
        vm.warp(block.timestamp + 7 days);
        vm.prank(absent);
        pools.leave(POOL);
        vm.assertEq(freeOf(absent), ARBITER_STAKE - FEE);
    }

    function test_Attack36_APoisonedJobCostsItsRequesterNotTheProvider() external {
        (File memory file,) = judged(Vote.UNREPRODUCIBLE, 0, RIGHT);
        vm.assertEq(stakeOf(provider.addr), STAKE);
        vm.assertEq(freeOf(provider.addr), PRICE / 2);
        vm.assertEq(freeOf(requester.addr), FREE - VERIFICATION - PRICE);
        file;
    }

    function test_Attack37_ADisputeWithOneselfLosesMoney() external {
        // Provider and challenger are one: the bond lost is more than bounty and gas.
        uint256 before = stakeOf(provider.addr) + freeOf(challenger.addr) + freeOf(provider.addr);
        judged(Vote.OVERTURN, RIGHT, RIGHT);
        uint256 afterwards = stakeOf(provider.addr) + freeOf(challenger.addr) + freeOf(provider.addr);
        vm.assertLe(afterwards + 2 * uint256(FRAUD_BOND) / 5, before);
    }

    function test_Attack38_OneStakeBacksEachDealOnce() external {
        uint256 n = 0;
        while (STAKE - lockedOf(provider.addr) >= FRAUD_BOND + DEADLINE_BOND) {
            disputable();
            ++n;
        }
        vm.assertEq(n, STAKE / (FRAUD_BOND + DEADLINE_BOND));
        vm.assertEq(lockedOf(provider.addr), n * (uint256(FRAUD_BOND) + DEADLINE_BOND));
    }

    function test_Attack40_ClaimAndChallengeExcludeEachOther() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        (,, uint40 ends,) = market.slot(deal.dealId);
        vm.warp(uint256(ends) + 1);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.TooLate.selector, ends));
        vm.prank(challenger.addr);
        court.challenge(deal, grounds.demand, grounds.rules, Kind.STEP, 0, 0, RIGHT);
        vm.warp(ends);
        challengeBy(challenger.addr, deal, grounds, Kind.STEP, RIGHT);
        vm.warp(uint256(ends) + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDealMarket.NotClaimable.selector, 0, deal.dealId, Phase.CHALLENGED, ends)
        );
        market.claim(deal);
    }

    function stranger_() private returns (address) {
        deposit(stranger.addr, FREE);
        return stranger.addr;
    }
}
