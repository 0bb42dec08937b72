// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Cases that everybody has left: from each phase anybody ends them, and no sooner than their clock is over.
contract StuckTest is LongTrace {
    /// @dev Each phase in which a case may be left, but those in which a silent side just loses.
    enum Left {
        SHOWN,
        REDRAWING,
        VOTING,
        CAST,
        REVEALING,
        APPEALED
    }

    function test_FromEachPhaseTheDealIsSplit() external {
        for (uint256 i = 0; i <= uint256(type(Left).max); ++i) {
            assertSplit(Left(i));
        }
    }

    function test_AnAnswerThatNobodyShowsLapses() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        uint256 over = uint256(clockOf(idOf(file))) + REVEAL_BLOCKS;
        vm.roll(over);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, over));
        court.settle(file, grounds, new Opening[](1));
        vm.roll(over + 1);
        vm.prank(stranger.addr);
        court.settle(file, grounds, new Opening[](1));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
    }

    function test_AVerdictThatNobodySettlesStays() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        vm.warp(block.timestamp + 2 * MAX_DISPUTE);
        vm.prank(stranger.addr);
        settle(file, grounds, RIGHT);
        assertCase(file, CasePhase.CLOSED, Verdict.OVERTURNED);
    }

    function test_AForcedRevealThatNobodyAnswersOverturns() external {
        (Claim memory deal, Grounds memory grounds) = long(17);
        vm.prank(challenger.addr);
        court.demandLeaves(deal, grounds, 0);
        File memory file = File(deal, uint8(Kind.WITHHELD), 0, 0, challenger.addr, BOND, 0);
        vm.warp(block.timestamp + 2 * MAX_DISPUTE);
        vm.prank(stranger.addr);
        court.settle(file, grounds, new Opening[](0));
        assertCase(file, CasePhase.CLOSED, Verdict.OVERTURNED);
    }

    function test_ARoundThatNobodyVotesInIsDrawnAgain() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        passClock(idOf(file));
        vm.prank(stranger.addr);
        resolve(file, grounds);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
    }

    /// @dev A deal that is split holds no money any more, and nobody's stake.
    function assertSplit(Left left) private {
        (File memory file, Grounds memory grounds) = leave(left);
        (,, uint40 ends,) = market.slot(file.deal.dealId);
        uint256 last = uint256(ends) + MAX_DISPUTE;
        if (block.timestamp < last) vm.warp(last);
        vm.expectRevert(); // its own clock or the last one
        court.settle(file, grounds, new Opening[](1));
        vm.warp(last + 1);
        vm.prank(stranger.addr);
        court.settle(file, grounds, new Opening[](1));
        assertCase(file, CasePhase.CLOSED, Verdict.SPLIT);
        assertPhase(file.deal.dealId, Phase.SPLIT);
        payAll(file);
        rules.pool = POOL;
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function leave(Left left) private returns (File memory file, Grounds memory grounds) {
        if (left == Left.SHOWN) rules.pool = keccak256("a class of nobody");
        (file, grounds) = voting(RIGHT);
        bytes32 id = idOf(file);
        if (left == Left.REDRAWING) {
            passClock(id);
            resolve(file, grounds);
        } else if (left == Left.CAST) {
            cast(id, 0, Vote.OVERTURN, RIGHT);
        } else if (left == Left.REVEALING) {
            for (uint8 i = 0; i < 3; ++i) {
                cast(id, i, Vote.OVERTURN, RIGHT);
            }
            reveal(id, 0, Vote.OVERTURN, RIGHT);
        } else if (left == Left.APPEALED) {
            allVote(id, Vote.OVERTURN, RIGHT);
            resolve(file, grounds);
            vm.prank(other.addr);
            court.appeal(file, grounds);
        }
    }
}
