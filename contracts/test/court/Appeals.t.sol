// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IEscrow} from "../../src/interfaces/IEscrow.sol";
import {CasePhase, File, Grounds, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Phase} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice The ladder of committees, 3, 7, 15, and who pays for it.
contract AppealsTest is CourtTest {
    function setUp() public override {
        super.setUp();
        for (uint256 i = ARBITERS; i < 20; ++i) {
            addArbiter(i, ARBITER_STAKE);
        }
        deposit(provider.addr, FREE);
    }

    /// @dev Upheld by three, overturned by seven, upheld by fifteen: who lost an appeal is who paid the seven.
    function test_TheLastCommitteeCounts() external {
        (File memory file, Grounds memory grounds) = decided(Vote.UPHOLD);
        appealBy(challenger.addr, file, grounds, 7);
        again(file, grounds, Vote.OVERTURN);
        appealBy(provider.addr, file, grounds, 15);
        again(file, grounds, Vote.UPHOLD);
        vm.prank(challenger.addr);
        vm.expectRevert(IDisputeCourt.NoFurtherAppeal.selector);
        court.appeal(file, grounds);

        settle(file, grounds, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.UPHELD);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(freeOf(provider.addr), FREE);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND - 7 * uint256(FEE));
        // A bond and seven fees do not pay 25 seats in full.
        uint256 pot = uint256(BOND) + 7 * FEE;
        uint256 each = pot / 25;
        vm.assertEq(market.totalBurned(), pot - 25 * each);
        vm.assertEq(payAll(file), 3);
        vm.assertEq(allFees(), 18 * each);
        vm.assertEq(market.totalBurned(), pot - 25 * each + 14 * each); // seven were wrong, and pay as much again
        assertCourtHolds(0);
    }

    function test_AProviderThatLosesItsAppealPaysIt() external {
        (File memory file, Grounds memory grounds) = decided(Vote.OVERTURN);
        appealBy(provider.addr, file, grounds, 7);
        again(file, grounds, Vote.OVERTURN);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(provider.addr), FREE - 7 * uint256(FEE));
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - PRICE - GAS - 3 * FEE);
        vm.assertEq(payAll(file), 2);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AProviderThatWinsItsAppealHasItBack() external {
        (File memory file, Grounds memory grounds) = decided(Vote.OVERTURN);
        appealBy(provider.addr, file, grounds, 7);
        again(file, grounds, Vote.UPHOLD);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(freeOf(provider.addr), FREE);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(payAll(file), 2);
        assertCourtHolds(0);
        afterWindow();
        market.claim(file.deal);
        assertAllAccounted();
    }

    function test_AnybodyMayPayForALargerCommittee() external {
        (File memory file, Grounds memory grounds) = decided(Vote.UPHOLD);
        deposit(stranger.addr, FREE);
        appealBy(stranger.addr, file, grounds, 7);
        again(file, grounds, Vote.OVERTURN);
        settle(file, grounds, RIGHT);
        vm.assertEq(freeOf(stranger.addr), FREE);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
    }

    function test_AnAppealOfAVoidDealComesBackWhereItIsJudged() external {
        (File memory file, Grounds memory grounds) = decided(Vote.UNREPRODUCIBLE);
        appealBy(challenger.addr, file, grounds, 7);
        again(file, grounds, Vote.OVERTURN);
        settle(file, grounds, RIGHT);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(payAll(file), 2);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_ALostAppealOfAVoidDealPaysItsSeats() external {
        (File memory file, Grounds memory grounds) = decided(Vote.UNREPRODUCIBLE);
        appealBy(challenger.addr, file, grounds, 7);
        again(file, grounds, Vote.UNREPRODUCIBLE);
        settle(file, grounds, RIGHT);
        vm.assertEq(freeOf(challenger.addr), FREE - 7 * uint256(FEE));
        vm.assertEq(market.totalBurned(), PRICE - PRICE / 2);
        vm.assertEq(payAll(file), 2);
        vm.assertEq(allFees(), 10 * uint256(FEE));
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev Seven drawn again are no appeal; what follows is fifteen.
    function test_AfterARedrawFifteenFollow() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        disagree(idOf(file));
        resolve(file, grounds);
        again(file, grounds, Vote.OVERTURN);
        (uint8 round, uint8 seats) = roundOf(idOf(file));
        vm.assertEq(round, 1);
        vm.assertEq(seats, 7);
        appealBy(provider.addr, file, grounds, 15);
        again(file, grounds, Vote.OVERTURN);
        settle(file, grounds, RIGHT);
        vm.assertEq(payAll(file), 3);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AnAppealAlsoFollowsWhereNobodyVoted() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        for (uint256 i = 0; i < 3; ++i) {
            passClock(idOf(file));
            resolve(file, grounds);
            if (i < 2) draw(file, grounds);
        }
        assertCase(file, CasePhase.DECIDED, Verdict.SPLIT);
        appealBy(challenger.addr, file, grounds, 15);
        again(file, grounds, Vote.OVERTURN);
        settle(file, grounds, RIGHT);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(payAll(file), 4);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev The longest case: 3, 7, 15 and fifteen twice again are 55 seats in five rounds.
    function test_TheLongestCaseEnds() external {
        (File memory file, Grounds memory grounds) = decided(Vote.UPHOLD);
        appealBy(challenger.addr, file, grounds, 7);
        again(file, grounds, Vote.OVERTURN);
        appealBy(provider.addr, file, grounds, 15);
        for (uint256 i = 0; i < 3; ++i) {
            draw(file, grounds);
            passClock(idOf(file));
            resolve(file, grounds);
        }
        assertCase(file, CasePhase.DECIDED, Verdict.SPLIT);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.SPLIT);
        (uint8 round,) = roundOf(idOf(file));
        vm.assertEq(round, 4);
        vm.assertEq(payAll(file), 5);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_OnlyInItsTime() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, id, CasePhase.VOTING));
        court.appeal(file, grounds);
        allVote(id, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        uint40 appealBy_ = clockOf(id);
        vm.warp(uint256(appealBy_) + 1);
        vm.prank(provider.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, appealBy_));
        court.appeal(file, grounds);
    }

    function test_NotWithoutItsMoney() external {
        (File memory file, Grounds memory grounds) = decided(Vote.OVERTURN);
        vm.prank(stranger.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, stranger.addr, 0, 7 * uint256(FEE))
        );
        court.appeal(file, grounds);
    }

    function test_NothingIsSettledWhileItIsAppealed() external {
        (File memory file, Grounds memory grounds) = decided(Vote.OVERTURN);
        appealBy(provider.addr, file, grounds, 7);
        Opening[] memory openings = new Opening[](1);
        openings[0] = Opening(RIGHT, SALT);
        vm.warp(block.timestamp + APPEAL_TIME + 1);
        (,, uint40 ends,) = market.slot(file.deal.dealId);
        uint256 last = uint256(ends) + MAX_DISPUTE;
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, last));
        court.settle(file, grounds, openings);
    }

    /* MOVES */

    function decided(Vote vote) private returns (File memory file, Grounds memory grounds) {
        (file, grounds) = voting(RIGHT);
        agree(file, grounds, vote);
    }

    /// @dev The next committee is drawn, and votes alike.
    function again(File memory file, Grounds memory grounds, Vote vote) private {
        draw(file, grounds);
        agree(file, grounds, vote);
    }

    function appealBy(address by, File memory file, Grounds memory grounds, uint256 seats) private {
        uint256 before = freeOf(by);
        vm.prank(by);
        court.appeal(file, grounds);
        vm.assertEq(before - freeOf(by), seats * FEE);
        assertCase(file, CasePhase.DRAWING, verdictOf(file));
    }

    function verdictOf(File memory file) private view returns (Verdict verdict) {
        (, verdict,,,,) = court.caseOf(idOf(file));
    }
}
