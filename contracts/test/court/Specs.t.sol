// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../../src/interfaces/IDealMarket.sol";
import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {File, Grounds, Kind, LeafProof, Opening, Verdict} from "../../src/types/Case.sol";
import {CasePhase} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Leaves that say what no leaf may, shown in one call.
contract SpecsTest is LongTrace {
    uint32 private constant STEPS = 20;
    uint256 private constant PLACE = 7;

    function test_AnEarlyEndEndsTheDeal() external {
        odd.done = 1;
        (Claim memory deal,) = shown(challenger.addr);
        assertPhase(deal.dealId, Phase.OVERTURNED);
        assertOverturnedBy(challenger.addr, PRICE);
    }

    function test_AnExitCodeInTheMiddleEndsTheDeal() external {
        odd.exit = 3;
        shown(challenger.addr);
        assertOverturnedBy(challenger.addr, PRICE);
    }

    function test_AStepThatIsRepeatedEndsTheDeal() external {
        odd.step = FIRST + PLACE - 1;
        shown(challenger.addr);
        assertOverturnedBy(challenger.addr, PRICE);
    }

    function test_AStepThatIsSkippedEndsTheDeal() external {
        odd.step = FIRST + PLACE + 1;
        shown(challenger.addr);
        assertOverturnedBy(challenger.addr, PRICE);
    }

    /// @dev Anyone but the requester earns by it, even the provider, which loses more.
    function test_TheRequesterGetsNoBounty() external {
        odd.done = 1;
        shown(requester.addr);
        vm.assertEq(freeOf(requester.addr), FREE + GAS);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - GAS);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_ItCostsNoBond() external {
        odd.done = 1;
        shown(stranger.addr);
        vm.assertEq(freeOf(stranger.addr), PRICE + GAS);
        assertAllAccounted();
    }

    function testFuzz_AnHonestLeafIsNoViolation(uint256 position) external {
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        refuse(deal, grounds, leafAt(bound(position, 1, STEPS - 1), STEPS), noViolation());
    }

    function test_TheEndsWereLookedAtWhenCommitted() external {
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        refuse(deal, grounds, leafAt(0, STEPS), noSuchStep(0));
        refuse(deal, grounds, leafAt(STEPS, STEPS), noSuchStep(STEPS));
        refuse(deal, grounds, leafAt(STEPS + 1, STEPS), noSuchStep(STEPS + 1));
    }

    function test_AMadeUpLeafProvesNothing() external {
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        LeafProof memory leaf = leafAt(PLACE, STEPS);
        leaf.done = 1;
        refuse(deal, grounds, leaf, badProof());
    }

    function test_AProofHasItsLength() external {
        odd = LeafProof(PLACE, FIRST + PLACE, keccak256("state"), 0, 0, 1, new bytes32[](0));
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        LeafProof memory leaf = leafAt(PLACE, STEPS);
        bytes32[] memory longer = new bytes32[](leaf.proof.length + 1);
        bytes32[] memory shorter = new bytes32[](leaf.proof.length - 1);
        for (uint256 i = 0; i < leaf.proof.length; ++i) {
            longer[i] = leaf.proof[i];
            if (i < shorter.length) shorter[i] = leaf.proof[i];
        }
        leaf.proof = longer;
        refuse(deal, grounds, leaf, badProof());
        leaf.proof = shorter;
        refuse(deal, grounds, leaf, badProof());
    }

    function test_ALeafOfAnotherPlaceProvesNothing() external {
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        LeafProof memory leaf = leafAt(PLACE, STEPS);
        leaf.position = PLACE + 1;
        refuse(deal, grounds, leaf, badProof());
    }

    function test_TheGroundsAreTheDeals() external {
        odd.done = 1;
        (Claim memory deal, Grounds memory grounds) = prepared();
        grounds.result.stepCount += 1;
        bytes memory mismatch = abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, deal.dealId);
        refuse(deal, grounds, leafAt(PLACE, STEPS), mismatch);
    }

    function test_NotAfterTheWindow() external {
        odd.done = 1;
        (Claim memory deal, Grounds memory grounds) = prepared();
        (,, uint40 ends,) = market.slot(deal.dealId);
        vm.warp(uint256(ends) + 1);
        bytes memory late = abi.encodeWithSelector(IDealMarket.TooLate.selector, ends);
        refuse(deal, grounds, leafAt(PLACE, STEPS), late);
    }

    function test_OnceForADeal() external {
        odd.done = 1;
        (Claim memory deal, Grounds memory grounds) = shown(challenger.addr);
        bytes memory ended =
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, deal.dealId, Phase.OVERTURNED);
        refuse(deal, grounds, leafAt(PLACE, STEPS), ended);
    }

    function test_ItEndsOtherCasesOfTheDeal() external {
        odd.done = 1;
        (Claim memory deal, Grounds memory grounds) = prepared();
        File memory file = File(deal, uint8(Kind.STEP), FIRST, 0, other.addr, 0, 0);
        open(file, grounds, RIGHT);
        LeafProof memory leaf = leafAt(PLACE, STEPS);
        vm.prank(challenger.addr);
        court.challengeSpec(deal, grounds, leaf);
        court.settle(file, grounds, new Opening[](1));
        assertCase(file, CasePhase.CLOSED, Verdict.MOOT);
        vm.assertEq(freeOf(other.addr), FREE);
        assertOverturnedBy(challenger.addr, PRICE);
    }

    /* MOVES */

    function prepared() private returns (Claim memory deal, Grounds memory grounds) {
        odd.position = PLACE;
        if (odd.step == 0) odd.step = FIRST + PLACE;
        odd.stateRoot = keccak256("state");
        (deal, grounds) = long(STEPS);
    }

    function shown(address by) private returns (Claim memory deal, Grounds memory grounds) {
        (deal, grounds) = prepared();
        LeafProof memory leaf = leafAt(PLACE, STEPS);
        vm.prank(by);
        court.challengeSpec(deal, grounds, leaf);
    }

    function refuse(Claim memory deal, Grounds memory grounds, LeafProof memory leaf, bytes memory why)
        private
    {
        vm.prank(challenger.addr);
        vm.expectRevert(why);
        court.challengeSpec(deal, grounds, leaf);
    }

    function assertOverturnedBy(address winner, uint256 bounty) private view {
        vm.assertEq(freeOf(winner), FREE + bounty + GAS);
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(stakeOf(provider.addr), STAKE - FRAUD_BOND);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - bounty - GAS);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function noViolation() private pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputeCourt.NoViolation.selector);
    }

    function badProof() private pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputeCourt.BadProof.selector);
    }

    function noSuchStep(uint256 step) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputeCourt.NoSuchStep.selector, step);
    }
}
