// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Cases whose deal another case has ended.
contract MootTest is CourtTest {
    function test_TheBondComesBackFromEachPhase() external {
        for (uint256 stage = 0; stage < 5; ++stage) {
            (File memory first, File memory second, Grounds memory grounds) = two();
            uint256 before = freeOf(other.addr) + second.bond;
            bring(second, grounds, stage);
            overturn(first, grounds);
            court.settle(second, grounds, new Opening[](1));
            assertCase(second, CasePhase.CLOSED, Verdict.MOOT);
            assertPhase(first.deal.dealId, Phase.OVERTURNED);
            vm.assertEq(freeOf(other.addr), before);
            payAll(second);
            assertCourtHolds(0);
            assertAllAccounted();
        }
    }

    function test_AnAppealComesBack() external {
        (File memory first, File memory second, Grounds memory grounds) = two();
        bring(second, grounds, 4);
        deposit(stranger.addr, FREE);
        vm.prank(stranger.addr);
        court.appeal(second, grounds);
        vm.assertEq(freeOf(stranger.addr), FREE - 7 * uint256(FEE));
        overturn(first, grounds);
        court.settle(second, grounds, new Opening[](1));
        vm.assertEq(freeOf(stranger.addr), FREE);
        payAll(second);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AllWhoJoinedAreLetGo() external {
        (File memory first, File memory second, Grounds memory grounds) = two();
        deposit(stranger.addr, FREE);
        joinBy(stranger.addr, second, grounds, RIGHT);
        overturn(first, grounds);
        court.settle(second, grounds, new Opening[](2));
        vm.assertEq(freeOf(stranger.addr), FREE);
        vm.assertEq(freeOf(other.addr), FREE);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev What was not judged pays nobody, and fines nobody.
    function test_ItsCommitteeIsNeitherPaidNorFined() external {
        (File memory first, File memory second, Grounds memory grounds) = two();
        bring(second, grounds, 2);
        overturn(first, grounds);
        court.settle(second, grounds, new Opening[](1));
        uint256 held = freeOf(address(court));
        uint256 burned = market.totalBurned();
        court.payCommittee(POOL, idOf(second), 0);
        vm.assertEq(freeOf(address(court)), held);
        vm.assertEq(market.totalBurned(), burned);
    }

    function test_AVoidDealLetsTheOthersGoToo() external {
        (File memory first, File memory second, Grounds memory grounds) = two();
        show(first, grounds, RIGHT);
        agree(first, grounds, Vote.UNREPRODUCIBLE);
        settle(first, grounds, RIGHT);
        court.settle(second, grounds, new Opening[](1));
        assertCase(second, CasePhase.CLOSED, Verdict.MOOT);
        vm.assertEq(freeOf(challenger.addr), FREE);
        vm.assertEq(freeOf(other.addr), FREE);
        payAll(first);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev An upheld case ends no other.
    function test_AnUpheldCaseLeavesTheOthersOpen() external {
        (File memory first, File memory second, Grounds memory grounds) = two();
        show(first, grounds, RIGHT);
        agree(first, grounds, Vote.UPHOLD);
        settle(first, grounds, RIGHT);
        assertPhase(first.deal.dealId, Phase.CHALLENGED);
        uint256 over = uint256(clockOf(idOf(second))) + REVEAL_BLOCKS;
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, over));
        court.settle(second, grounds, new Opening[](1));
    }

    /// @dev Two cases about one step of one deal, the second with the doubled bond.
    function two() private returns (File memory first, File memory second, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = disputable();
        first = challengeBy(challenger.addr, deal, grounds, Kind.STEP, RIGHT);
        second = File(deal, uint8(Kind.STEP), 0, 1, other.addr, 0, 0);
        open(second, grounds, RIGHT);
        vm.assertEq(second.bond, 2 * uint256(BOND));
    }

    /// @dev Opened; drawn; voted in; revealed; decided.
    function bring(File memory file, Grounds memory grounds, uint256 stage) private {
        bytes32 id = idOf(file);
        (bytes32 leaf,) = leafOf(file, grounds);
        if (stage > 0) show(file, grounds, RIGHT);
        if (stage == 2) cast(id, 0, Vote.UPHOLD, leaf);
        if (stage == 3) allVote(id, Vote.UPHOLD, leaf);
        if (stage == 4) agree(file, grounds, Vote.UPHOLD);
    }

    function overturn(File memory file, Grounds memory grounds) private {
        uint256 seedBlock = clockOf(idOf(file));
        if (block.number <= seedBlock) passSeedBlock(idOf(file));
        showBy(challenger.addr, 0, file, grounds, RIGHT);
        agree(file, grounds, Vote.OVERTURN);
        settle(file, grounds, RIGHT);
        payAll(file);
    }
}
