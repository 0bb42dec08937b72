// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Claim, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract HotKeyTest is MarketTest {
    uint96 private constant BONDS = FRAUD_BOND + DEADLINE_BOND;
    uint256 private constant UNIT = 1 << 32;

    function testFuzz_CeilingIsRoundedUp(uint96 ceiling) external {
        ceiling = uint96(bound(ceiling, 1, type(uint80).max));
        giveHotKey(ceiling);
        (uint96 stored, uint96 locked) = market.hotKey(provider.addr, hotKey.addr);
        vm.assertLe(ceiling, stored);
        vm.assertLe(stored - ceiling, UNIT - 1);
        vm.assertEq(locked, 0);
    }

    function test_RefusesAStrangersKey() external {
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, hotKey.addr, provider.addr));
        vm.prank(hotKey.addr);
        market.assign(terms, signature);
    }

    function test_CarriesADealToItsEnd() external {
        giveHotKey(BONDS);
        Terms memory terms = newTerms(Mode.LOCK);
        bytes32 dealId = assignAs(hotKey.addr, terms);
        vm.assertEq(lockedBy(hotKey.addr), up(BONDS));
        Claim memory claim = commitAs(hotKey.addr, dealId, terms, hotKey.addr, PRICE);
        afterWindow();
        market.claim(claim);
        vm.assertEq(lockedBy(hotKey.addr), 0);
        vm.assertEq(freeOf(provider.addr), PRICE);
        assertSettled();
    }

    function test_StopsAtTheCeiling() external {
        uint96 two = uint96(2 * up(BONDS));
        giveHotKey(two - uint96(UNIT));
        assignAs(hotKey.addr, newTerms(Mode.LOCK));
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        uint256 room = up(BONDS) - UNIT;
        vm.expectRevert(abi.encodeWithSelector(IStakes.AboveLockCeiling.selector, hotKey.addr, room, BONDS));
        vm.prank(hotKey.addr);
        market.assign(terms, signature);

        giveHotKey(two);
        vm.prank(hotKey.addr);
        market.assign(terms, signature);
        vm.assertEq(lockedBy(hotKey.addr), two);
    }

    function test_WalletIsNotCounted() external {
        giveHotKey(BONDS);
        assigned();
        vm.assertEq(lockedBy(hotKey.addr), 0);
    }

    function test_RemovedKeyCannotGoOnButTheWalletCan() external {
        giveHotKey(BONDS);
        Terms memory terms = newTerms(Mode.LOCK);
        bytes32 dealId = assignAs(hotKey.addr, terms);
        giveHotKey(0);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, hotKey.addr, provider.addr));
        vm.prank(hotKey.addr);
        market.abandon(dealId, terms, hotKey.addr);
        Claim memory claim = commitAs(provider.addr, dealId, terms, hotKey.addr, PRICE);
        vm.assertEq(lockedBy(hotKey.addr), up(BONDS));
        afterWindow();
        market.claim(claim);
        vm.assertEq(lockedBy(hotKey.addr), 0);
    }

    function test_ReturningKeyKeepsItsCount() external {
        giveHotKey(BONDS);
        assignAs(hotKey.addr, newTerms(Mode.LOCK));
        giveHotKey(0);
        giveHotKey(2 * BONDS);
        vm.assertEq(lockedBy(hotKey.addr), up(BONDS));
    }

    function test_SameKeyMayServeTwoProviders() external {
        giveHotKey(BONDS);
        vm.prank(stranger.addr);
        market.setHotKey(hotKey.addr, 2 * BONDS);
        assignAs(hotKey.addr, newTerms(Mode.LOCK));
        (, uint96 others) = market.hotKey(stranger.addr, hotKey.addr);
        vm.assertEq(others, 0);
    }

    function test_CannotMoveMoney() external {
        giveHotKey(BONDS);
        vm.startPrank(hotKey.addr);
        market.beginWithdraw(1);
        market.beginUnstake(1);
        vm.warp(block.timestamp + STAKE_THAW);
        vm.assertEq(market.withdraw(hotKey.addr), 0);
        vm.assertEq(market.unstake(), 0);
        vm.stopPrank();
        vm.assertEq(stakeOf(provider.addr), STAKE);
    }

    function test_LockedByIsBound() external {
        giveHotKey(BONDS);
        Terms memory terms = newTerms(Mode.LOCK);
        bytes32 dealId = assignAs(hotKey.addr, terms);
        vm.expectRevert();
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
        assertPhase(dealId, Phase.ASSIGNED);
    }

    function test_RefusesTheZeroKeyAndHugeCeilings() external {
        vm.expectRevert(IEscrow.ZeroAddress.selector);
        market.setHotKey(address(0), 1);
        vm.expectRevert();
        market.setHotKey(hotKey.addr, type(uint96).max);
    }

    function lockedBy(address key) private view returns (uint256 locked) {
        (, locked) = market.hotKey(provider.addr, key);
    }

    function up(uint256 amount) private pure returns (uint256) {
        return (amount + UNIT - 1) / UNIT * UNIT;
    }
}
