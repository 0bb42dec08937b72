// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Several challengers of one step: who is right shares, who is wrong pays.
contract ChallengersTest is CourtTest {
    bytes32 private constant WRONG = keccak256("another leaf");

    function setUp() public override {
        super.setUp();
        deposit(stranger.addr, FREE);
    }

    /* MONEY */

    function test_WhoIsRightTakesAllAndTheOthersPay() external {
        bytes32[] memory given = three(RIGHT, WRONG, 0);
        (File memory file, Grounds memory grounds) = allShown(given);
        drawLate(file, grounds);
        judge(file, grounds, Vote.OVERTURN, given);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(freeOf(other.addr), FREE - BOND);
        vm.assertEq(freeOf(stranger.addr), FREE - BOND);
        vm.assertEq(market.totalBurned(), FRAUD_BOND + 2 * uint256(BOND) - PRICE - GAS - 3 * FEE);
        assertAllAccounted();
    }

    function test_AJoinerWinsThoughTheOpenerIsSilent() external {
        bytes32[] memory given = pair(0, RIGHT);
        (File memory file, Grounds memory grounds) = allShown(given);
        drawLate(file, grounds);
        judge(file, grounds, Vote.OVERTURN, given);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(freeOf(other.addr), FREE + PRICE + GAS);
        assertAllAccounted();
    }

    /// @dev What does not divide is burned.
    function test_ThreeWhoAreRightShare() external {
        bytes32[] memory given = three(RIGHT, RIGHT, RIGHT);
        (File memory file, Grounds memory grounds) = allShown(given);
        judge(file, grounds, Vote.OVERTURN, given);
        uint256 share = uint256(PRICE) / 3 + GAS / 3;
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(freeOf(party(i)), FREE + share);
        }
        vm.assertEq(market.totalBurned(), FRAUD_BOND - 3 * share - 3 * FEE);
        assertAllAccounted();
    }

    function test_TheRequestersShareOfTheBountyIsBurned() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        File memory file = challengeBy(challenger.addr, deal, grounds, Kind.STEP, RIGHT);
        joinBy(requester.addr, file, grounds, RIGHT);
        passSeedBlock(idOf(file));
        showBy(challenger.addr, 0, file, grounds, RIGHT);
        showBy(requester.addr, 1, file, grounds, RIGHT);
        judge(file, grounds, Vote.OVERTURN, pair(RIGHT, RIGHT));
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE / 2 + GAS / 2);
        vm.assertEq(freeOf(requester.addr), FREE + GAS / 2);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - PRICE / 2 - GAS - 3 * FEE);
        assertAllAccounted();
    }

    function test_WhereTheResultIsRightAllPay() external {
        bytes32[] memory given = three(RIGHT, RIGHT, RIGHT);
        (File memory file, Grounds memory grounds) = allShown(given);
        judge(file, grounds, Vote.UPHOLD, given);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(freeOf(party(i)), FREE - BOND);
        }
        vm.assertEq(market.totalBurned(), 3 * uint256(BOND) - 3 * FEE);
    }

    function test_WhereNobodyShowsAllPay() external {
        (File memory file, Grounds memory grounds) = joined(three(RIGHT, RIGHT, RIGHT));
        vm.roll(block.number + JOIN_BLOCKS + REVEAL_BLOCKS + 1);
        court.settle(file, grounds, new Opening[](3));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        vm.assertEq(market.totalBurned(), 3 * uint256(BOND));
        assertCourtHolds(0);
    }

    function test_WhereNobodyCanReproduceAllAreLetGo() external {
        bytes32[] memory given = three(RIGHT, WRONG, RIGHT);
        (File memory file, Grounds memory grounds) = allShown(given);
        judge(file, grounds, Vote.UNREPRODUCIBLE, given);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(freeOf(party(i)), FREE);
        }
        assertAllAccounted();
    }

    function test_WhereNothingIsDecidedEachPaysAFee() external {
        (File memory file, Grounds memory grounds) = allShown(three(RIGHT, RIGHT, RIGHT));
        (,, uint40 ends,) = market.slot(file.deal.dealId);
        vm.warp(uint256(ends) + MAX_DISPUTE + 1);
        court.settle(file, grounds, new Opening[](3));
        assertCase(file, CasePhase.CLOSED, Verdict.SPLIT);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(freeOf(party(i)), FREE - FEE);
        }
        vm.assertEq(market.totalBurned(), 3 * uint256(FEE));
        // None of the three seats has voted: their fees, and as much of their stakes, burn too.
        court.payCommittee(POOL, idOf(file), 0);
        vm.assertEq(market.totalBurned(), 9 * uint256(FEE));
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /* JOINING */

    function test_EightAtMost() external {
        (File memory file, Grounds memory grounds) = joined(three(RIGHT, RIGHT, RIGHT));
        for (uint256 i = 3; i < 8; ++i) {
            joinBy(other.addr, file, grounds, keccak256(abi.encode(i)));
        }
        vm.prank(other.addr);
        vm.expectRevert(IDisputeCourt.TooManyChallengers.selector);
        court.join(file, grounds.demand, grounds.rules, RIGHT);
        vm.assertEq(freeOf(other.addr), FREE - 6 * uint256(BOND)); // a bond each, never doubled
    }

    function test_UntilTheBlockIsMined() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        uint40 seedBlock = clockOf(idOf(file));
        vm.roll(seedBlock);
        joinBy(other.addr, file, grounds, RIGHT);
        vm.roll(uint256(seedBlock) + 1);
        vm.prank(stranger.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, seedBlock));
        court.join(file, grounds.demand, grounds.rules, RIGHT);
    }

    function test_OnlyTheCaseAsItIs() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        grounds.rules.arbiterFee += 1;
        vm.prank(other.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, file.deal.dealId));
        court.join(file, grounds.demand, grounds.rules, RIGHT);
        grounds.rules.arbiterFee -= 1;
        file.serial = 1;
        vm.prank(other.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.NONE)
        );
        court.join(file, grounds.demand, grounds.rules, RIGHT);
    }

    /* SHOWING */

    function test_OnceEach() external {
        (File memory file, Grounds memory grounds) = allShown(three(RIGHT, RIGHT, 0));
        refuseToShow(challenger.addr, 0, file, grounds, Opening(RIGHT, SALT));
        refuseToShow(other.addr, 1, file, grounds, Opening(RIGHT, SALT));
        refuseToShow(stranger.addr, 2, file, grounds, Opening(RIGHT, SALT)); // it has hidden another
        refuseToShow(stranger.addr, 2, file, grounds, Opening(0, keccak256("another salt")));
    }

    function test_TheDrawWaitsForThoseWhoMayStillShow() external {
        (File memory file, Grounds memory grounds) = joined(pair(RIGHT, RIGHT));
        bytes32 id = idOf(file);
        passSeedBlock(id);
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, id, CasePhase.OPEN));
        court.draw(file, grounds, leaf, proof);
        showBy(challenger.addr, 0, file, grounds, RIGHT);
        uint256 over = uint256(clockOf(id)) + REVEAL_BLOCKS;
        vm.roll(over);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, over));
        court.draw(file, grounds, leaf, proof);
        showBy(other.addr, 1, file, grounds, RIGHT); // in its last block, and draws
        assertCase(file, CasePhase.VOTING, Verdict.NONE);
    }

    /* SETTLING */

    function test_WhoHasWonIsProvedByWhatItShowed() external {
        (File memory file, Grounds memory grounds) = allShown(pair(WRONG, RIGHT));
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        passClock(idOf(file));
        refuseToSettle(file, grounds, new Opening[](1));
        Opening[] memory openings = new Opening[](2);
        openings[0] = Opening(WRONG, SALT);
        openings[1] = Opening(RIGHT, keccak256("another salt"));
        refuseToSettle(file, grounds, openings);
        openings[0] = Opening(RIGHT, SALT);
        openings[1] = Opening(RIGHT, SALT);
        refuseToSettle(file, grounds, openings);
        openings[0] = Opening(WRONG, SALT);
        court.settle(file, grounds, openings);
        vm.assertEq(freeOf(challenger.addr), FREE - BOND);
        vm.assertEq(freeOf(other.addr), FREE + PRICE + GAS);
    }

    function refuseToSettle(File memory file, Grounds memory grounds, Opening[] memory openings) private {
        vm.expectRevert(IDisputeCourt.BadOpening.selector);
        court.settle(file, grounds, openings);
    }

    /* MOVES */

    /// @dev A case of as many challengers as answers; where one is zero it will not be shown.
    function joined(bytes32[] memory given) private returns (File memory file, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = disputable();
        file = challengeBy(challenger.addr, deal, grounds, Kind.STEP, given[0]);
        for (uint256 i = 1; i < given.length; ++i) {
            joinBy(party(i), file, grounds, given[i]);
        }
    }

    /// @dev All of them have shown what they hid.
    function allShown(bytes32[] memory given) private returns (File memory file, Grounds memory grounds) {
        (file, grounds) = joined(given);
        showAll(file, grounds, given);
    }

    function showAll(File memory file, Grounds memory grounds, bytes32[] memory given) private {
        passSeedBlock(idOf(file));
        for (uint8 i = 0; i < given.length; ++i) {
            if (given[i] != 0) showBy(party(i), i, file, grounds, given[i]);
        }
    }

    function judge(File memory file, Grounds memory grounds, Vote vote, bytes32[] memory given) private {
        (bytes32 leaf,) = leafOf(file, grounds);
        if (vote != Vote.UPHOLD) leaf = vote == Vote.OVERTURN ? RIGHT : bytes32(0);
        allVote(idOf(file), vote, leaf);
        resolve(file, grounds);
        settleAll(file, grounds, given);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
    }

    function drawLate(File memory file, Grounds memory grounds) private {
        vm.roll(block.number + REVEAL_BLOCKS);
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        court.draw(file, grounds, leaf, proof);
    }

    function refuseToShow(
        address by,
        uint8 index,
        File memory file,
        Grounds memory grounds,
        Opening memory opening
    ) private {
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.prank(by);
        vm.expectRevert(IDisputeCourt.BadOpening.selector);
        court.showAnswer(file, grounds, index, opening, leaf, proof);
    }

    function party(uint256 i) private view returns (address) {
        return i == 0 ? challenger.addr : i == 1 ? other.addr : stranger.addr;
    }

    function three(bytes32 a, bytes32 b, bytes32 c) private pure returns (bytes32[] memory given) {
        given = new bytes32[](3);
        (given[0], given[1], given[2]) = (a, b, c);
    }

    function pair(bytes32 a, bytes32 b) private pure returns (bytes32[] memory given) {
        given = new bytes32[](2);
        (given[0], given[1]) = (a, b);
    }
}
