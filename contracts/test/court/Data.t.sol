// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Cases about bytes that cannot be had.
contract DataTest is LongTrace {
    function test_BytesThatAreThereUphold() external {
        (File memory file, Grounds memory grounds) = asked();
        allVote(idOf(file), Vote.UPHOLD, 0);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.UPHELD);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(market.totalBurned(), BOND - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
    }

    function test_BytesThatAreMissingOverturn() external {
        (File memory file, Grounds memory grounds) = asked();
        allVote(idOf(file), Vote.UNAVAILABLE, 0);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev The question is whether bytes can be had, not whether they are right.
    function test_AVoteOnTheStepMakesNoSense() external {
        (File memory file, Grounds memory grounds) = asked();
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    function test_ToUpholdALeafMakesNoSense() external {
        (File memory file, Grounds memory grounds) = asked();
        (bytes32 leaf,) = leafOf(file, grounds);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    function test_EveryStateOfATraceCanBeAskedFor() external {
        (Claim memory deal, Grounds memory grounds) = long(16);
        File memory file = File(deal, uint8(Kind.DATA), FIRST + 15, 0, challenger.addr, 0, 0);
        open(file, grounds, RIGHT);
        show(file, grounds, RIGHT);
        assertCase(file, CasePhase.VOTING, Verdict.NONE);
    }

    function test_AStateThatTheTraceDoesNotHaveCannotBeAskedFor() external {
        (Claim memory deal, Grounds memory grounds) = long(16);
        File memory before = File(deal, uint8(Kind.DATA), FIRST - 1, 0, challenger.addr, 0, 0);
        File memory beyond = File(deal, uint8(Kind.DATA), FIRST + 16, 0, challenger.addr, 0, 0);
        open(before, grounds, RIGHT);
        open(beyond, grounds, RIGHT);
        passSeedBlock(idOf(before));
        refuseToShow(before, grounds);
        refuseToShow(beyond, grounds);
        // What could not be shown lapses.
        vm.roll(block.number + REVEAL_BLOCKS + 1);
        court.settle(before, grounds, new Opening[](1));
        assertCase(before, CasePhase.CLOSED, Verdict.LAPSED);
    }

    function test_DataAndStepAreTwoCases() external {
        (File memory file, Grounds memory grounds) = asked();
        File memory step = File(file.deal, uint8(Kind.STEP), file.step, file.serial, other.addr, 0, 0);
        open(step, grounds, RIGHT);
        assertCase(step, CasePhase.OPEN, Verdict.NONE);
        assertCase(file, CasePhase.VOTING, Verdict.NONE);
    }

    function test_OnlyStepsAndDataAreChallengedByAnAnswer() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        Kind[3] memory others = [Kind.SPEC, Kind.WITHHELD, Kind.AUDIT];
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(challenger.addr);
            vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NotChallengeable.selector, deal.dealId));
            court.challenge(deal, grounds.demand, grounds.rules, others[i], 0, 0, RIGHT);
        }
    }

    function asked() private returns (File memory file, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = disputable();
        file = challengeBy(challenger.addr, deal, grounds, Kind.DATA, RIGHT);
        show(file, grounds, RIGHT);
    }

    function refuseToShow(File memory file, Grounds memory grounds) private {
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NoSuchStep.selector, file.step));
        vm.prank(challenger.addr);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), 0, new bytes32[](0));
    }
}
