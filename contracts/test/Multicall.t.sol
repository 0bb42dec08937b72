// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract MulticallTest is MarketTest {
    function test_OneTransactionMakesAProvider() external {
        token.mint(stranger.addr, 100);
        bytes[] memory calls = new bytes[](4);
        calls[0] = abi.encodeCall(IEscrow.deposit, (100));
        calls[1] = abi.encodeCall(IStakes.stake, (60));
        calls[2] = abi.encodeCall(IEscrow.earmark, (provider.addr, 30));
        calls[3] = abi.encodeCall(IStakes.setHotKey, (hotKey.addr, 1));
        vm.startPrank(stranger.addr);
        token.approve(address(market), 100);
        market.multicall(calls);
        vm.stopPrank();
        vm.assertEq(freeOf(stranger.addr), 10);
        vm.assertEq(stakeOf(stranger.addr), 60);
        (uint96 amount,,) = market.earmarkOf(stranger.addr, provider.addr);
        vm.assertEq(amount, 30);
    }

    function test_CannotCreditOneDepositTwice() external {
        token.mint(stranger.addr, 100);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IEscrow.deposit, (100));
        calls[1] = abi.encodeCall(IEscrow.deposit, (100));
        vm.startPrank(stranger.addr);
        token.approve(address(market), 200);
        vm.expectRevert();
        market.multicall(calls);
        vm.stopPrank();
        vm.assertEq(freeOf(stranger.addr), 0);
    }
}
