// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IStakes} from "../src/interfaces/IStakes.sol";
import {Claim} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract PayoutTest is MarketTest {
    function test_EarningsGoToThePayoutAccount() external {
        Claim memory claim = committed(PRICE);
        setPayout(stranger.addr);
        afterWindow();
        market.claim(claim);
        vm.assertEq(freeOf(stranger.addr), PRICE);
        vm.assertEq(freeOf(provider.addr), 0);
        vm.assertEq(stakeOf(provider.addr), STAKE);
        assertSettled();
    }

    function test_CanBeUndone() external {
        setPayout(stranger.addr);
        vm.assertEq(market.payoutOf(provider.addr) == stranger.addr ? 1 : 0, 1);
        setPayout(address(0));
        vm.assertEq(market.payoutOf(provider.addr), provider.addr);
        setPayout(stranger.addr);
        vm.expectEmit(address(market));
        emit IStakes.PayoutSet(provider.addr, provider.addr);
        setPayout(provider.addr);
        Claim memory claim = committed(PRICE);
        afterWindow();
        market.claim(claim);
        vm.assertEq(freeOf(provider.addr), PRICE);
    }

    function setPayout(address payout) private {
        vm.prank(provider.addr);
        market.setPayout(payout);
    }
}
