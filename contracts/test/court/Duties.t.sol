// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourtPurse} from "../../src/interfaces/ICourtPurse.sol";
import {Duty, IPools} from "../../src/interfaces/IPools.sol";
import {CourtClocks} from "../../src/types/Case.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Arbiters come, wait, serve and leave.
contract DutiesTest is CourtTest {
    uint32 private constant AGE = 7 days;

    function courtClocks() internal pure override returns (CourtClocks memory clocks) {
        clocks = super.courtClocks();
        clocks.minAge = AGE;
    }

    function test_AStakeServesOnceItIsOfAge() external {
        assertPool(0, 0);
        (,,, uint40 readyAt) = pools.arbiterOf(POOL, arbiters[0]);
        vm.warp(uint256(readyAt) - 1);
        vm.expectRevert(abi.encodeWithSelector(IPools.NotReady.selector, readyAt));
        pools.activate(POOL, arbiters[0]);
        vm.warp(readyAt);
        vm.prank(stranger.addr);
        pools.activate(POOL, arbiters[0]);
        assertPool(1, ARBITER_STAKE);
        vm.expectRevert(abi.encodeWithSelector(IPools.WrongDuty.selector, arbiters[0], Duty.ACTIVE));
        pools.activate(POOL, arbiters[0]);
    }

    function test_MoreStakeWaitsAsWell() external {
        address arbiter = serving();
        deposit(arbiter, ARBITER_STAKE);
        vm.prank(arbiter);
        pools.enroll(CLASS, ARBITER_STAKE);
        assertPool(0, 0);
        vm.warp(block.timestamp + AGE);
        pools.activate(POOL, arbiter);
        assertPool(1, 2 * uint256(ARBITER_STAKE));
    }

    function test_WhoLeavesIsDrawnNoMoreAndWaits() external {
        address arbiter = serving();
        vm.prank(arbiter);
        pools.beginLeave(POOL);
        assertPool(0, 0);
        (,,, uint40 readyAt) = pools.arbiterOf(POOL, arbiter);
        vm.assertEq(readyAt, block.timestamp + 7 days);
        vm.warp(uint256(readyAt) - 1);
        vm.prank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IPools.NotReady.selector, readyAt));
        pools.leave(POOL);
        vm.prank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IPools.WrongDuty.selector, arbiter, Duty.LEAVING));
        pools.enroll(CLASS, 1 ether);
        vm.warp(readyAt);
        vm.prank(arbiter);
        pools.leave(POOL);
        vm.assertEq(freeOf(arbiter), ARBITER_STAKE);
        vm.prank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IPools.WrongDuty.selector, arbiter, Duty.NONE));
        pools.leave(POOL);
        assertCourtHolds(0);
    }

    function test_WhoHasLeftMayComeBack() external {
        address arbiter = serving();
        vm.prank(arbiter);
        pools.beginLeave(POOL);
        vm.warp(block.timestamp + 7 days);
        vm.startPrank(arbiter);
        pools.leave(POOL);
        pools.enroll(CLASS, ARBITER_STAKE);
        vm.stopPrank();
        (uint96 stake,, Duty duty,) = pools.arbiterOf(POOL, arbiter);
        vm.assertEq(stake, ARBITER_STAKE);
        vm.assertEq(uint256(duty), uint256(Duty.WAITING));
        assertCourtHolds(0);
    }

    function test_OneWhoWaitsMayLeaveToo() external {
        vm.prank(arbiters[0]);
        pools.beginLeave(POOL);
        vm.warp(block.timestamp + 7 days);
        vm.expectRevert(abi.encodeWithSelector(IPools.WrongDuty.selector, arbiters[0], Duty.LEAVING));
        pools.activate(POOL, arbiters[0]);
        vm.prank(arbiters[0]);
        pools.leave(POOL);
        vm.assertEq(freeOf(arbiters[0]), ARBITER_STAKE);
    }

    function test_StakesHaveALeast() external {
        deposit(stranger.addr, 1 ether);
        vm.prank(stranger.addr);
        vm.expectRevert(abi.encodeWithSelector(IPools.StakeTooSmall.selector, 1 ether - 1, 1 ether));
        pools.enroll(CLASS, 1 ether - 1);
        vm.prank(stranger.addr);
        pools.enroll(CLASS, 1 ether);
    }

    function test_StrangersHaveNoDuty() external {
        bytes memory none = abi.encodeWithSelector(IPools.WrongDuty.selector, stranger.addr, Duty.NONE);
        vm.startPrank(stranger.addr);
        vm.expectRevert(none);
        pools.beginLeave(POOL);
        vm.expectRevert(none);
        pools.leave(POOL);
        vm.expectRevert(none);
        pools.collect(POOL);
        vm.expectRevert(none);
        pools.activate(POOL, stranger.addr);
    }

    function test_OnlyTheCourtPaysAndFines() external {
        bytes memory notCourt = abi.encodeWithSelector(IPools.NotCourt.selector, stranger.addr);
        vm.startPrank(stranger.addr);
        vm.expectRevert(notCourt);
        pools.earn(POOL, 0, 1);
        vm.expectRevert(notCourt);
        pools.penalise(POOL, 0, 1);
    }

    function test_OnlyThePoolsMoveTheCourtsMoney() external {
        bytes memory notPools = abi.encodeWithSelector(ICourtPurse.NotPools.selector, stranger.addr);
        vm.startPrank(stranger.addr);
        vm.expectRevert(notPools);
        court.take(requester.addr, 1);
        vm.expectRevert(notPools);
        court.give(1, stranger.addr);
    }

    function serving() private returns (address arbiter) {
        arbiter = arbiters[0];
        vm.warp(block.timestamp + AGE);
        pools.activate(POOL, arbiter);
    }

    function assertPool(uint256 active, uint256 stake) private view {
        (uint32 count, uint256 sum) = pools.poolOf(POOL);
        vm.assertEq(count, active);
        vm.assertEq(sum, stake >> 32 << 32);
    }
}
