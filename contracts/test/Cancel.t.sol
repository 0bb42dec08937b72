// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract CancelTest is MarketTest {
    function test_RequesterTakesItBackAtAnyTime() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        vm.expectEmit(address(market));
        emit IDealMarket.DealCancelled(dealId, address(0), 0, ESCROWED);
        vm.prank(requester.addr);
        market.cancel(terms);
        assertPhase(dealId, Phase.CANCELLED);
        vm.assertEq(freeOf(requester.addr), FREE);
        assertSettled();
    }

    function testFuzz_AnyoneAfterAssignBy(address anyone) external {
        vm.assume(anyone != requester.addr);
        (, Terms memory terms) = announced(Mode.FIRST);
        vm.warp(terms.assignBy);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.NotRequester.selector, anyone, requester.addr));
        vm.prank(anyone);
        market.cancel(terms);
        vm.warp(terms.assignBy + 1);
        vm.prank(anyone);
        market.cancel(terms);
        vm.assertEq(freeOf(requester.addr), FREE);
        assertSettled();
    }

    function test_OnlyOnce() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        vm.startPrank(requester.addr);
        market.cancel(terms);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.CANCELLED));
        market.cancel(terms);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.CANCELLED));
        market.announce(terms, "");
    }

    function test_NotOnceAssigned() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.FIRST);
        vm.prank(provider.addr);
        market.assignFirst(provider.addr, terms);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.ASSIGNED));
        vm.prank(requester.addr);
        market.cancel(terms);
    }
}
