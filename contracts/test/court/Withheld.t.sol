// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IStakes} from "../../src/interfaces/IStakes.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Leaves that were not published, brought to light level by level.
contract WithheldTest is LongTrace {
    uint32 private constant MANY = 1024;
    uint256 private constant PLACE = 700;

    /// @dev Where a descent stands: the node asked about.
    struct Asked {
        uint256 height;
        uint256 index;
    }

    Asked private asked;

    /* THE WHOLE WAY */

    function test_DescendsFromTheRootToAStepThatIsJudged() external {
        (File memory file, Grounds memory grounds) = demanded(MANY);
        vm.assertEq(asked.height, 11);
        descendTo(file, PLACE);
        vm.assertEq(asked.height, 2);
        File memory step = named(file, grounds, PLACE, 0, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.NONE);
        vm.assertEq(step.step, FIRST + PLACE - 1);

        show(step, grounds, RIGHT);
        allVote(idOf(step), Vote.OVERTURN, RIGHT);
        resolve(step, grounds);
        settle(step, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - PRICE - GAS - 3 * FEE);
        court.payCommittee(POOL, idOf(step), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function testFuzz_EveryStepIsReached(uint256 count, uint256 place) external {
        uint32 steps = uint32(bound(count, 17, 130));
        place = bound(place, 1, steps);
        (File memory file, Grounds memory grounds) = demanded(steps);
        descendTo(file, place);
        File memory step = named(file, grounds, place, 0, RIGHT);
        assertCase(step, CasePhase.OPEN, Verdict.NONE);
        show(step, grounds, RIGHT);
        assertCase(step, CasePhase.VOTING, Verdict.NONE);
    }

    /* THE BOND */

    function test_TheBondGoesOnWithTheStepOnce() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        descendTo(file, 9);
        File memory step = named(file, grounds, 9, 0, RIGHT);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        assertCourtHolds(BOND);
        assertOpen(file.deal.dealId, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.CLOSED)
        );
        court.settle(file, grounds, new Opening[](1));

        vm.roll(block.number + JOIN_BLOCKS + REVEAL_BLOCKS + 1);
        court.settle(step, grounds, new Opening[](1));
        assertCase(step, CasePhase.CLOSED, Verdict.LAPSED);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        assertCourtHolds(0);
    }

    function test_ADoubledBondGoesOnWhole() external {
        (Claim memory deal, Grounds memory grounds) = long(17);
        File memory first = File(deal, uint8(Kind.STEP), FIRST, 0, other.addr, 0, 0);
        open(first, grounds, RIGHT);
        File memory file = demand_(deal, grounds, 0);
        vm.assertEq(file.bond, 2 * uint256(BOND));
        descendTo(file, 9);
        File memory step = named(file, grounds, 9, 0, RIGHT);
        // The other case ends the deal, and this one is moot.
        show(first, grounds, RIGHT);
        allVote(idOf(first), Vote.OVERTURN, RIGHT);
        resolve(first, grounds);
        settle(first, grounds, RIGHT);
        court.settle(step, grounds, new Opening[](1));
        assertCase(step, CasePhase.CLOSED, Verdict.MOOT);
        vm.assertEq(freeOf(challenger.addr), FREE);
        court.payCommittee(POOL, idOf(first), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AnUpheldStepPaysTheMovesOfItsProvider() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        descendTo(file, 9);
        File memory step = named(file, grounds, 9, 0, RIGHT);
        show(step, grounds, RIGHT);
        (bytes32 leaf,) = leafOf(step, grounds);
        allVote(idOf(step), Vote.UPHOLD, leaf);
        resolve(step, grounds);
        settle(step, grounds, RIGHT);
        vm.assertEq(freeOf(provider.addr), GAS);
        vm.assertEq(market.totalBurned(), BOND - 3 * FEE - GAS);
        court.payCommittee(POOL, idOf(step), 0);
        assertCourtHolds(0);
    }

    function test_AHotKeyThatNamesTheStepDoesNotGetTheBond() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        descendTo(file, 9);
        vm.prank(challenger.addr);
        market.setHotKey(hotKey.addr, 1);
        File memory step = stepOf(file, 9, 0, RIGHT);
        vm.prank(hotKey.addr);
        court.nameStep(file, grounds, below(asked.height, asked.index), 9 & 7, 0, step.answer);
        show(step, grounds, RIGHT);
        allVote(idOf(step), Vote.OVERTURN, RIGHT);
        resolve(step, grounds);
        settle(step, grounds, RIGHT);
        vm.assertEq(freeOf(hotKey.addr), 0);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
    }

    /* SILENCE */

    function test_ASilentProviderLosesTheDeal() external {
        (File memory file, Grounds memory grounds) = demanded(MANY);
        uint40 clock = clockOf(idOf(file));
        vm.warp(clock);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, clock));
        court.settle(file, grounds, new Opening[](0));
        vm.warp(uint256(clock) + 1);
        bytes32[] memory nodes = below(asked.height, 0);
        vm.prank(provider.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, clock));
        court.answerLeaves(file, nodes);

        vm.prank(stranger.addr);
        court.settle(file, grounds, new Opening[](0));
        assertCase(file, CasePhase.CLOSED, Verdict.OVERTURNED);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(stakeOf(provider.addr), STAKE - FRAUD_BOND);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - PRICE - GAS);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_ASilentChallengerLosesItsBondAndPaysTheProvidersMoves() external {
        (File memory file, Grounds memory grounds) = demanded(MANY);
        answer(file);
        uint40 clock = clockOf(idOf(file));
        vm.warp(clock);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, clock));
        court.settle(file, grounds, new Opening[](0));
        vm.warp(uint256(clock) + 1);
        bytes32[] memory nodes = below(asked.height, 0);
        vm.prank(challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, clock));
        court.descend(file, nodes, 0);

        court.settle(file, grounds, new Opening[](0));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(freeOf(provider.addr), GAS);
        vm.assertEq(market.totalBurned(), BOND - GAS);
        assertCourtHolds(0);
        afterWindow();
        market.claim(file.deal);
        assertAllAccounted();
    }

    function test_EachMoveHasAClockOfItsOwn() external {
        (File memory file,) = demanded(MANY);
        vm.warp(clockOf(idOf(file)));
        answer(file);
        vm.assertEq(clockOf(idOf(file)), block.timestamp + ANSWER_TIME);
        vm.warp(clockOf(idOf(file)));
        choose(file, 0);
        vm.assertEq(clockOf(idOf(file)), block.timestamp + ANSWER_TIME);
    }

    /* WRONG MOVES */

    function test_OtherNodesAreNoAnswer() external {
        (File memory file,) = demanded(MANY);
        bytes32[] memory nodes = below(asked.height, 0);
        nodes[3] ^= bytes32(uint256(1));
        refuseAnswer(file, nodes);
        refuseAnswer(file, layers[11]); // the root itself
        refuseAnswer(file, layers[9]); // four nodes that lead to the root too
        refuseAnswer(file, layers[7]); // sixteen
        refuseAnswer(file, new bytes32[](8));
        refuseAnswer(file, new bytes32[](0));
        answer(file);
        choose(file, 2);
        refuseAnswer(file, below(asked.height, 3)); // of the node beside
    }

    function test_ChosenIsWhatWasShown() external {
        (File memory file,) = demanded(MANY);
        answer(file);
        bytes32[] memory nodes = below(asked.height, 0);
        refuseChoice(file, nodes, 8);
        (nodes[0], nodes[1]) = (nodes[1], nodes[0]);
        refuseChoice(file, nodes, 0);
    }

    function test_NothingIsBelowALeaf() external {
        (File memory file,) = demanded(17);
        descendTo(file, 9);
        refuseChoice(file, below(asked.height, asked.index), 0);
    }

    function test_AStepIsNamedByALeafOfTheTrace() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        answer(file);
        bytes32[] memory nodes = below(asked.height, 0);
        vm.prank(challenger.addr);
        vm.expectRevert(IDisputeCourt.BadProof.selector); // still above the leaves
        court.nameStep(file, grounds, nodes, 0, 0, RIGHT);

        choose(file, 0);
        answer(file);
        refuseName(file, grounds, 0, abi.encodeWithSelector(IDisputeCourt.NoSuchStep.selector, 0));
        refuseName(file, grounds, 4, abi.encodeWithSelector(IDisputeCourt.BadProof.selector));
    }

    function test_PaddingIsNoStep() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        answer(file);
        choose(file, 4); // leaves 16 to 19, of which 17 is the last
        answer(file);
        refuseName(file, grounds, 2, abi.encodeWithSelector(IDisputeCourt.NoSuchStep.selector, 18));
        vm.assertEq(named(file, grounds, 17, 0, RIGHT).step, FIRST + 16);
    }

    function test_MovesTakeTurns() external {
        (File memory file,) = demanded(MANY);
        bytes32[] memory nodes = below(asked.height, 0);
        bytes memory waits =
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.ASKED);
        vm.prank(challenger.addr);
        vm.expectRevert(waits);
        court.descend(file, nodes, 0);
        answer(file);
        bytes memory answered =
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.ANSWERED);
        vm.prank(provider.addr);
        vm.expectRevert(answered);
        court.answerLeaves(file, nodes);
    }

    function test_NobodyMovesForAnother() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        bytes32[] memory nodes = below(asked.height, 0);
        vm.prank(challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, challenger.addr, provider.addr));
        court.answerLeaves(file, nodes);
        answer(file);
        bytes memory notOpener =
            abi.encodeWithSelector(IStakes.NotActingFor.selector, other.addr, challenger.addr);
        vm.prank(other.addr);
        vm.expectRevert(notOpener);
        court.descend(file, nodes, 0);
        vm.prank(other.addr);
        vm.expectRevert(notOpener);
        court.nameStep(file, grounds, nodes, 0, 0, RIGHT);
    }

    function test_AHotKeyAnswersForTheProvider() external {
        (File memory file,) = demanded(MANY);
        giveHotKey(1);
        bytes32[] memory nodes = below(asked.height, 0);
        vm.prank(hotKey.addr);
        court.answerLeaves(file, nodes);
        assertCase(file, CasePhase.ANSWERED, Verdict.NONE);
    }

    /* WHAT IS ASKED FOR ONCE */

    function test_PostedLeavesCannotBeDemanded() external {
        (Claim memory deal, Grounds memory grounds) = long(16);
        vm.prank(challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NotChallengeable.selector, deal.dealId));
        court.demandLeaves(deal, grounds, 0);
    }

    function test_TheGroundsAreTheDeals() external {
        (Claim memory deal, Grounds memory grounds) = long(17);
        grounds.result.traceRoot = keccak256("another root");
        vm.prank(challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, deal.dealId));
        court.demandLeaves(deal, grounds, 0);
    }

    function test_ACaseOfEachNumberOnce() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        vm.prank(other.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.ASKED)
        );
        court.demandLeaves(file.deal, grounds, 0);
        vm.prank(other.addr);
        court.demandLeaves(file.deal, grounds, 1);
        vm.assertEq(freeOf(other.addr), FREE - 2 * uint256(BOND));
    }

    function test_ASecondCaseAboutTheStepNeedsANumberOfItsOwn() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        File memory taken = File(file.deal, uint8(Kind.STEP), FIRST + 8, 3, other.addr, 0, 0);
        open(taken, grounds, RIGHT);
        descendTo(file, 9);
        bytes32[] memory nodes = below(asked.height, asked.index);
        vm.prank(challenger.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(taken), CasePhase.OPEN)
        );
        court.nameStep(file, grounds, nodes, 9 & 7, 3, RIGHT);
        File memory step = named(file, grounds, 9, 4, RIGHT);
        assertCase(step, CasePhase.OPEN, Verdict.NONE);
        assertOpen(file.deal.dealId, 2);
    }

    function test_ANamedStepCanBeJoined() external {
        (File memory file, Grounds memory grounds) = demanded(17);
        descendTo(file, 9);
        File memory step = named(file, grounds, 9, 0, RIGHT);
        joinBy(other.addr, step, grounds, RIGHT);
        (,,,, uint8 challengers,) = court.caseOf(idOf(step));
        vm.assertEq(challengers, 2);
    }

    /* MOVES */

    function demanded(uint32 steps) private returns (File memory file, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = long(steps);
        file = demand_(deal, grounds, 0);
    }

    function demand_(Claim memory deal, Grounds memory grounds, uint32 serial) private returns (File memory) {
        uint256 before = freeOf(challenger.addr);
        vm.prank(challenger.addr);
        court.demandLeaves(deal, grounds, serial);
        asked = Asked(layers.length - 1, 0);
        uint96 bond = uint96(before - freeOf(challenger.addr));
        return File(deal, uint8(Kind.WITHHELD), 0, serial, challenger.addr, bond, 0);
    }

    function answer(File memory file) private {
        bytes32[] memory nodes = below(asked.height, asked.index);
        vm.prank(provider.addr);
        court.answerLeaves(file, nodes);
    }

    function choose(File memory file, uint8 child) private {
        bytes32[] memory nodes = below(asked.height, asked.index);
        vm.prank(challenger.addr);
        court.descend(file, nodes, child);
        asked = Asked(asked.height - 3, (asked.index << 3) + child);
    }

    /// @dev Down to the last answer, which shows the leaf.
    function descendTo(File memory file, uint256 place) private {
        for (; asked.height > 3;) {
            answer(file);
            choose(file, uint8((place >> (asked.height - 3)) & 7));
        }
        answer(file);
    }

    function stepOf(File memory file, uint256 place, uint32 serial, bytes32 found)
        private
        pure
        returns (File memory step)
    {
        uint32 number = uint32(FIRST + place - 1);
        step = File(file.deal, uint8(Kind.STEP), number, serial, file.opener, file.bond, 0);
        step.answer = hiddenAnswer(idOf(step), found, file.opener);
    }

    function named(File memory file, Grounds memory grounds, uint256 place, uint32 serial, bytes32 found)
        private
        returns (File memory step)
    {
        step = stepOf(file, place, serial, found);
        bytes32[] memory nodes = below(asked.height, asked.index);
        vm.prank(challenger.addr);
        court.nameStep(file, grounds, nodes, uint8(place % nodes.length), serial, step.answer);
    }

    function refuseAnswer(File memory file, bytes32[] memory nodes) private {
        vm.prank(provider.addr);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.answerLeaves(file, nodes);
    }

    function refuseChoice(File memory file, bytes32[] memory nodes, uint8 child) private {
        vm.prank(challenger.addr);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.descend(file, nodes, child);
    }

    function refuseName(File memory file, Grounds memory grounds, uint8 child, bytes memory why) private {
        bytes32[] memory nodes = below(asked.height, asked.index);
        vm.prank(challenger.addr);
        vm.expectRevert(why);
        court.nameStep(file, grounds, nodes, child, 0, RIGHT);
    }

    function assertOpen(bytes32 dealId, uint256 expected) private view {
        (, uint8 count,,) = market.slot(dealId);
        vm.assertEq(count, expected);
    }
}
