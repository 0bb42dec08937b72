// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {Mode} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract WithdrawTest is MarketTest {
    function testFuzz_PaysWhatWasBegunToAnyAddress(uint96 amount) external {
        amount = uint96(bound(amount, 0, FREE));
        begin(amount);
        vm.warp(block.timestamp + FREE_THAW);
        vm.prank(requester.addr);
        vm.assertEq(market.withdraw(stranger.addr), amount);
        vm.assertEq(token.balanceOf(stranger.addr), amount);
        vm.assertEq(freeOf(requester.addr), FREE - amount);
        assertSettled();
    }

    function test_WaitsForTheThaw() external {
        begin(1);
        vm.warp(block.timestamp + FREE_THAW - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.Thawing.selector, uint40(START + FREE_THAW)));
        vm.prank(requester.addr);
        market.withdraw(requester.addr);
    }

    function test_PaysOnce() external {
        begin(1);
        vm.warp(block.timestamp + FREE_THAW);
        vm.startPrank(requester.addr);
        market.withdraw(requester.addr);
        vm.expectRevert(IEscrow.NothingThawing.selector);
        market.withdraw(requester.addr);
    }

    function test_PaysWhatDealsHaveLeft() external {
        begin(FREE);
        announced(Mode.AWARD);
        vm.warp(block.timestamp + FREE_THAW);
        vm.prank(requester.addr);
        vm.assertEq(market.withdraw(requester.addr), FREE - ESCROWED);
    }

    function test_BeginningAgainStartsAnew() external {
        begin(1);
        vm.warp(block.timestamp + FREE_THAW);
        begin(2);
        (uint96 amount, uint40 readyAt) = market.withdrawingOf(requester.addr);
        vm.assertEq(amount, 2);
        vm.assertEq(readyAt, block.timestamp + FREE_THAW);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.Thawing.selector, readyAt));
        vm.prank(requester.addr);
        market.withdraw(requester.addr);
    }

    function test_RefusesTheZeroAddress() external {
        vm.expectRevert(IEscrow.ZeroAddress.selector);
        market.withdraw(address(0));
    }

    function begin(uint96 amount) private {
        vm.prank(requester.addr);
        market.beginWithdraw(amount);
    }
}
