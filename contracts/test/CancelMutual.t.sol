// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {Claim, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract CancelMutualTest is MarketTest {
    function testFuzz_SplitsAsAgreed(uint96 amount) external {
        amount = uint96(bound(amount, 0, PRICE));
        (bytes32 dealId, Terms memory terms) = assigned();
        (bytes memory byRequester, bytes memory byProvider) = signatures(dealId, amount);
        vm.expectEmit(address(market));
        emit IDealMarket.DealCancelled(dealId, provider.addr, amount, ESCROWED - amount);
        vm.prank(stranger.addr);
        market.cancelMutual(dealId, terms, address(0), amount, valid(), byRequester, byProvider);
        vm.assertEq(freeOf(provider.addr), amount);
        vm.assertEq(freeOf(requester.addr), FREE - amount);
        vm.assertEq(stakeOf(provider.addr), STAKE);
        assertPhase(dealId, Phase.CANCELLED);
        assertSettled();
    }

    function test_SendingIsConsenting() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        (bytes memory byRequester, bytes memory byProvider) = signatures(dealId, 1);
        vm.prank(requester.addr);
        market.cancelMutual(dealId, terms, address(0), 1, valid(), "", byProvider);
        assertPhase(dealId, Phase.CANCELLED);

        (dealId, terms) = assigned();
        (byRequester,) = signatures(dealId, 1);
        giveHotKey(1);
        vm.prank(hotKey.addr);
        market.cancelMutual(dealId, terms, address(0), 1, valid(), byRequester, "");
        assertPhase(dealId, Phase.CANCELLED);
        assertSettled();
    }

    function test_NeedsBothSides() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        (bytes memory byRequester, bytes memory byProvider) = signatures(dealId, PRICE);
        refused(
            dealId,
            terms,
            byProvider,
            byProvider,
            abi.encodeWithSelector(IDealMarket.BadSignature.selector, requester.addr)
        );
        refused(
            dealId,
            terms,
            byRequester,
            byRequester,
            abi.encodeWithSelector(IDealMarket.BadSignature.selector, provider.addr)
        );
    }

    function test_NotAboveThePrice() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        (bytes memory byRequester, bytes memory byProvider) = signatures(dealId, PRICE + 1);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.AmountAbovePrice.selector, PRICE + 1, PRICE));
        market.cancelMutual(dealId, terms, address(0), PRICE + 1, valid(), byRequester, byProvider);
    }

    function test_ConsentLapses() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        (bytes memory byRequester, bytes memory byProvider) = signatures(dealId, PRICE);
        uint40 until = valid();
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.TooLate.selector, until));
        market.cancelMutual(dealId, terms, address(0), PRICE, until, byRequester, byProvider);
    }

    function test_UntilCommitByAndGrace() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        vm.warp(terms.commitBy + GRACE + 1);
        (bytes memory byRequester, bytes memory byProvider) = signatures(dealId, PRICE);
        refused(
            dealId,
            terms,
            byRequester,
            byProvider,
            abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.commitBy + GRACE)
        );
    }

    function test_NotOnceCommitted() external {
        Claim memory c = committed(PRICE);
        (bytes memory byRequester, bytes memory byProvider) = signatures(c.dealId, PRICE);
        refused(
            c.dealId,
            c.terms,
            byRequester,
            byProvider,
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, c.dealId, Phase.COMMITTED)
        );
    }

    function valid() private view returns (uint40) {
        return uint40(block.timestamp + 30);
    }

    function signatures(bytes32 dealId, uint96 amount)
        private
        view
        returns (bytes memory byRequester, bytes memory byProvider)
    {
        bytes32 digest = digestOf(TypedData.cancelMutual(dealId, amount, valid()));
        return (sign(requester, digest), sign(provider, digest));
    }

    function refused(
        bytes32 dealId,
        Terms memory terms,
        bytes memory byRequester,
        bytes memory byProvider,
        bytes memory reason
    ) private {
        uint40 until = valid();
        vm.expectRevert(reason);
        market.cancelMutual(dealId, terms, address(0), PRICE, until, byRequester, byProvider);
    }
}
