// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice The blocks whose hashes draw committees.
contract SeedsTest is CourtTest {
    string private constant EMPTY_CLASS = "gpu-none";

    function test_ACaseOfAnEmptyClassWaitsForArbiters() external {
        (File memory file, Grounds memory grounds) = undrawn();
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.TooFewArbiters.selector, rules.pool));
        court.draw(file, grounds, leaf, proof);
        fill();
        vm.prank(stranger.addr);
        court.draw(file, grounds, leaf, proof);
        assertCase(file, CasePhase.VOTING, Verdict.NONE);
    }

    function test_AHashThatIsGoneIsReplacedByAnybody() external {
        (File memory file, Grounds memory grounds) = undrawn();
        bytes32 id = idOf(file);
        uint256 seedBlock = clockOf(id);
        vm.roll(seedBlock + 256);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, seedBlock + 256));
        court.retarget(file);
        fill();
        vm.roll(seedBlock + 257);
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NoSeed.selector, seedBlock));
        court.draw(file, grounds, leaf, proof);

        vm.prank(stranger.addr);
        court.retarget(file);
        assertCase(file, CasePhase.DRAWING, Verdict.NONE);
        vm.assertEq(clockOf(id), block.number + JOIN_BLOCKS);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NoSeed.selector, clockOf(id)));
        court.draw(file, grounds, leaf, proof);
        draw(file, grounds);
        allVote(id, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
    }

    function test_AMissedRedrawIsReplaced() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        passClock(idOf(file));
        resolve(file, grounds);
        uint256 seedBlock = clockOf(idOf(file));
        vm.roll(seedBlock + 257);
        court.retarget(file);
        draw(file, grounds);
        (uint8 round, uint8 seats) = roundOf(idOf(file));
        vm.assertEq(round, 1);
        vm.assertEq(seats, 7);
    }

    function test_OnlyACaseThatWaitsForADraw() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        bytes32 id = idOf(file);
        vm.roll(block.number + 1_000);
        refuse(file, CasePhase.OPEN); // nothing was shown: it lapses
        court.settle(file, grounds, new Opening[](1));
        refuse(file, CasePhase.CLOSED);
        (file, grounds) = voting(RIGHT);
        id = idOf(file);
        vm.roll(block.number + 1_000);
        refuse(file, CasePhase.VOTING);
        allVote(id, Vote.OVERTURN, RIGHT);
        refuse(file, CasePhase.REVEALING);
        resolve(file, grounds);
        refuse(file, CasePhase.DECIDED);
    }

    function test_NothingIsShownBeforeTheBlockIsMined() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        uint40 seedBlock = clockOf(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.roll(seedBlock);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, seedBlock));
        vm.prank(challenger.addr);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), leaf, proof);
    }

    /// @dev The same block draws others for another answer, and for another case.
    function test_ASeedDependsOnAnswerCaseAndBlock() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        File memory first = challengeBy(challenger.addr, deal, grounds, Kind.STEP, RIGHT);
        uint256 same = 0;
        show(first, grounds, RIGHT);
        for (uint32 serial = 1; serial < 7; ++serial) {
            File memory next = File(deal, uint8(Kind.STEP), 0, serial, other.addr, 0, 0);
            open(next, grounds, RIGHT);
            show(next, grounds, RIGHT);
            if (seatsOf(first) == seatsOf(next)) ++same;
        }
        vm.assertLe(same, 1);
    }

    function undrawn() private returns (File memory file, Grounds memory grounds) {
        rules.pool = keccak256(bytes(EMPTY_CLASS));
        (file, grounds) = voting(RIGHT);
        assertCase(file, CasePhase.OPEN, Verdict.NONE);
    }

    function fill() private {
        for (uint256 i = 0; i < 3; ++i) {
            deposit(arbiterAt(i), ARBITER_STAKE);
            vm.prank(arbiterAt(i));
            pools.enroll(EMPTY_CLASS, ARBITER_STAKE);
        }
    }

    function refuse(File memory file, CasePhase phase) private {
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), phase));
        court.retarget(file);
    }

    function seatsOf(File memory file) private view returns (bytes32) {
        address[3] memory seats;
        for (uint8 i = 0; i < 3; ++i) {
            (seats[i],) = court.seatOf(POOL, idOf(file), 0, i);
        }
        return keccak256(abi.encode(seats));
    }
}
