// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Each row of a dispute's end, to the wei.
contract VerdictsTest is CourtTest {
    function test_OverturnedRefundsAndPaysTheChallenger() external {
        (File memory file, Grounds memory grounds) = judged(Vote.OVERTURN, RIGHT, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.OVERTURNED);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        uint256 bounty = PRICE; // a quarter of the fraud bond, 3.125, is more
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(freeOf(challenger.addr), FREE + bounty + GAS);
        vm.assertEq(stakeOf(provider.addr), STAKE - FRAUD_BOND);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - bounty - GAS - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
        assertAllAccounted();
        grounds;
    }

    /// @dev What is said to be paid is paid: an event for another pool would keep everybody from paying the arbiters.
    function test_ACommitteeIsPaidOnceAndOnlyWhereItSat() external {
        (File memory file,) = judged(Vote.UPHOLD, 0, RIGHT);
        bytes32 caseId = idOf(file);
        bytes memory nothing = abi.encodeWithSelector(IDisputeCourt.NothingToPay.selector, caseId, 0);
        vm.expectRevert(nothing);
        court.payCommittee(keccak256("another"), caseId, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NothingToPay.selector, caseId, 1));
        court.payCommittee(POOL, caseId, 1);
        court.payCommittee(POOL, caseId, 0);
        vm.expectRevert(nothing);
        court.payCommittee(POOL, caseId, 0);
    }

    function test_UpheldPaysArbitersAndBurnsTheRest() external {
        (File memory file,) = judged(Vote.UPHOLD, 0, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.UPHELD);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(market.totalBurned(), BOND - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        afterWindow();
        market.claim(file.deal);
        vm.assertEq(freeOf(provider.addr), PRICE);
        vm.assertEq(stakeOf(provider.addr), STAKE);
        vm.assertEq(freeOf(requester.addr), FREE - PRICE);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev Half of the amount burns: no requester buys cheaper with a result made to be irreproducible.
    function test_NotReproducibleHalvesAndPaysFromTheDeposit() external {
        (File memory file,) = judged(Vote.UNREPRODUCIBLE, 0, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.VOID);
        assertPhase(file.deal.dealId, Phase.VOID);
        vm.assertEq(freeOf(challenger.addr), FREE);
        vm.assertEq(freeOf(provider.addr), PRICE / 2);
        vm.assertEq(freeOf(requester.addr), FREE - VERIFICATION - PRICE);
        vm.assertEq(market.totalBurned(), PRICE - PRICE / 2);
        vm.assertEq(stakeOf(provider.addr), STAKE);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_UnavailableBytesOverturn() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        File memory file = challengeBy(requester.addr, deal, grounds, Kind.DATA, RIGHT);
        show(file, grounds, RIGHT);
        allVote(idOf(file), Vote.UNAVAILABLE, 0);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertPhase(deal.dealId, Phase.OVERTURNED);
        // The requester never earns from a slash: its money, its bond and its gas come back.
        vm.assertEq(freeOf(requester.addr), FREE + GAS);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_NotShowingLosesTheBond() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        vm.roll(block.number + JOIN_BLOCKS + REVEAL_BLOCKS + 1);
        court.settle(file, grounds, new Opening[](1));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(market.totalBurned(), BOND);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        assertCourtHolds(0);
    }

    function test_AWrongAnswerLosesThoughTheResultIsWrongToo() external {
        (File memory file,) = judged(Vote.OVERTURN, RIGHT, keccak256("something else"));
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(market.totalBurned(), uint256(FRAUD_BOND) + BOND - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_ThreeLeavesAreDrawnAgainThenVoid() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        disagree(id);
        resolve(file, grounds);
        (uint8 round,) = roundOf(id);
        vm.assertEq(round, 1);
        draw(file, grounds);
        (, uint8 seats) = roundOf(id);
        vm.assertEq(seats, 7);
        disagree(id);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.VOID);
        uint256 each = VERIFICATION / 10;
        for (uint8 r = 0; r < 2; ++r) {
            court.payCommittee(POOL, id, r);
        }
        uint256 sum = 0;
        for (uint256 i = 0; i < arbiters.length; ++i) {
            sum += feesOf(arbiters[i]);
        }
        vm.assertEq(sum, 10 * each);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_NobodyVotesThriceThenSplit() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        for (uint256 i = 0; i < 3; ++i) {
            (,,,,, uint40 voteBy) = court.caseOf(idOf(file));
            vm.warp(uint256(voteBy) + 1);
            resolve(file, grounds);
            if (i < 2) draw(file, grounds);
        }
        settle(file, grounds, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.SPLIT);
        assertPhase(file.deal.dealId, Phase.SPLIT);
        vm.assertEq(freeOf(challenger.addr), FREE - FEE);
        vm.assertEq(freeOf(provider.addr), PRICE / 2);
        // With what is left of the deposit when all seats have shared it.
        uint256 left = freeOf(requester.addr) - (FREE - VERIFICATION - PRICE / 2);
        vm.assertLe(left, 16);
        vm.assertEq(market.totalBurned(), FEE);
        for (uint8 r = 0; r < 3; ++r) {
            court.payCommittee(POOL, idOf(file), r);
        }
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_NoShowsAreFined() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        cast(id, 1, Vote.OVERTURN, RIGHT);
        (address absent,) = court.seatOf(POOL, id, 0, 2);
        (,,,,, uint40 voteBy) = court.caseOf(id);
        vm.warp(uint256(voteBy) + 1);
        reveal(id, 0, Vote.OVERTURN, RIGHT);
        reveal(id, 1, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        court.payCommittee(POOL, id, 0);
        (uint96 stake,,,) = pools.arbiterOf(POOL, absent);
        vm.assertEq(stake, ARBITER_STAKE - FEE);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AnAppealThatChangesTheVerdictComesBack() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        (bytes32 leaf,) = claimed(file.deal, grounds);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        vm.prank(challenger.addr);
        court.appeal(file, grounds);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND - 7 * FEE);
        draw(file, grounds);
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        court.payCommittee(POOL, idOf(file), 0);
        court.payCommittee(POOL, idOf(file), 1);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_ALostAppealPaysItsCommittee() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        (bytes32 leaf,) = claimed(file.deal, grounds);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        vm.prank(challenger.addr);
        court.appeal(file, grounds);
        draw(file, grounds);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND - 7 * FEE);
        vm.assertEq(market.totalBurned(), BOND - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        court.payCommittee(POOL, idOf(file), 1);
        assertCourtHolds(0);
    }
}
