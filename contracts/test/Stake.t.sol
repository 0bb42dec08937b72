// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {AccountLib} from "../src/types/Account.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract StakeTest is MarketTest {
    function testFuzz_ComesOutOfTheFreeBalance(uint96 amount) external {
        amount = uint96(bound(amount, 0, FREE));
        vm.prank(requester.addr);
        market.stake(amount);
        vm.assertEq(stakeOf(requester.addr), amount);
        vm.assertEq(freeOf(requester.addr), FREE - amount);
        assertSettled();
    }

    function test_NeedsTheFreeBalance() external {
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, requester.addr, FREE, FREE + 1)
        );
        vm.prank(requester.addr);
        market.stake(FREE + 1);
    }

    function test_HasALimit() external {
        uint96 limit = uint96(AccountLib.MAX_STAKE);
        deposit(stranger.addr, limit + 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.AmountTooLarge.selector, limit + 1, limit));
        vm.prank(stranger.addr);
        market.stake(limit + 1);
        vm.prank(stranger.addr);
        market.stake(limit);
        vm.assertEq(stakeOf(stranger.addr), limit);
        vm.assertEq(freeOf(stranger.addr), 1);
    }

    function testFuzz_GoesBackAfterTheThaw(uint96 wanted) external {
        begin(wanted);
        vm.warp(block.timestamp + STAKE_THAW);
        uint96 expected = wanted < STAKE ? wanted : STAKE;
        vm.prank(provider.addr);
        vm.assertEq(market.unstake(), expected);
        vm.assertEq(freeOf(provider.addr), expected);
        assertSettled();
    }

    function test_WaitsForTheThaw() external {
        begin(1);
        vm.warp(block.timestamp + STAKE_THAW - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.Thawing.selector, uint40(START + STAKE_THAW)));
        vm.prank(provider.addr);
        market.unstake();
    }

    function test_KeepsWhatDealsLock() external {
        begin(STAKE);
        assigned();
        vm.warp(block.timestamp + STAKE_THAW);
        vm.prank(provider.addr);
        vm.assertEq(market.unstake(), STAKE - FRAUD_BOND - DEADLINE_BOND);
        vm.assertEq(stakeOf(provider.addr), lockedOf(provider.addr));
    }

    function begin(uint96 amount) private {
        vm.prank(provider.addr);
        market.beginUnstake(amount);
    }
}
