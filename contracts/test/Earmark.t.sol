// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract EarmarkTest is MarketTest {
    function testFuzz_ComesOutOfTheFreeBalance(uint96 amount) external {
        amount = uint96(bound(amount, 0, FREE));
        vm.expectEmit(address(market));
        emit IEscrow.Earmarked(requester.addr, provider.addr, amount);
        vm.prank(requester.addr);
        market.earmark(provider.addr, amount);
        vm.assertEq(earmarked(), EARMARK + amount);
        vm.assertEq(freeOf(requester.addr), FREE - amount);
        assertSettled();
    }

    function test_NeedsTheFreeBalance() external {
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, requester.addr, FREE, FREE + 1)
        );
        vm.prank(requester.addr);
        market.earmark(provider.addr, FREE + 1);
    }

    function test_NeedsAProvider() external {
        vm.expectRevert(IEscrow.ZeroAddress.selector);
        market.earmark(address(0), 1);
    }

    function testFuzz_GoesBackAfterTheThaw(uint96 wanted) external {
        begin(wanted);
        vm.warp(block.timestamp + EARMARK_THAW);
        uint96 expected = wanted < EARMARK ? wanted : EARMARK;
        vm.prank(requester.addr);
        vm.assertEq(market.unearmark(provider.addr), expected);
        vm.assertEq(freeOf(requester.addr), FREE + expected);
        vm.assertEq(earmarked(), EARMARK - expected);
        assertSettled();
    }

    function test_WaitsForTheThaw() external {
        begin(1);
        vm.warp(block.timestamp + EARMARK_THAW - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.Thawing.selector, uint40(START + EARMARK_THAW)));
        vm.prank(requester.addr);
        market.unearmark(provider.addr);
    }

    function test_GoesBackOnce() external {
        begin(1);
        vm.warp(block.timestamp + EARMARK_THAW);
        vm.startPrank(requester.addr);
        market.unearmark(provider.addr);
        vm.expectRevert(IEscrow.NothingThawing.selector);
        market.unearmark(provider.addr);
    }

    function test_CanBeDebitedUntilItIsTaken() external {
        begin(EARMARK);
        vm.warp(block.timestamp + EARMARK_THAW);
        direct(PRICE);
        vm.prank(requester.addr);
        vm.assertEq(market.unearmark(provider.addr), EARMARK - ESCROWED);
    }

    function test_AddingKeepsTheThaw() external {
        begin(3);
        vm.prank(requester.addr);
        market.earmark(provider.addr, 5);
        (uint96 amount, uint96 thawing, uint40 readyAt) = market.earmarkOf(requester.addr, provider.addr);
        vm.assertEq(amount, EARMARK + 5);
        vm.assertEq(thawing, 3);
        vm.assertEq(readyAt, START + EARMARK_THAW);
    }

    function begin(uint96 amount) private {
        vm.prank(requester.addr);
        market.beginUnearmark(provider.addr, amount);
    }
}
