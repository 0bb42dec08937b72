// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {Claim, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AcceptTest is MarketTest {
    function test_PaysAtOnceBySignature() external {
        Claim memory c = committed(PRICE);
        bytes memory signature = sign(requester, acceptDigest(c.dealId));
        vm.expectEmit(address(market));
        emit IDealMarket.DealFinalized(c.dealId, provider.addr, PRICE, VERIFICATION);
        vm.prank(stranger.addr);
        market.accept(c, signature);
        (Phase phase,, uint40 deadline,) = market.slot(c.dealId);
        vm.assertEq(uint256(phase), uint256(Phase.FINALIZED));
        vm.assertEq(deadline, 0);
        vm.assertEq(freeOf(provider.addr), PRICE);
        assertSettled();
    }

    function test_RequesterItselfNeedsNoSignature() external {
        Claim memory c = direct(PRICE);
        vm.prank(requester.addr);
        market.accept(c, "");
        vm.assertEq(freeOf(provider.addr), PRICE);
    }

    function test_AtAnyTimeWhileCommitted() external {
        Claim memory c = committed(PRICE);
        vm.warp(block.timestamp + 365 days);
        vm.prank(requester.addr);
        market.accept(c, "");
        assertPhase(c.dealId, Phase.FINALIZED);
    }

    function test_RefusesAnotherSignature() external {
        Claim memory c = committed(PRICE);
        bytes memory bad = abi.encodeWithSelector(IDealMarket.BadSignature.selector, requester.addr);
        refused(c, sign(provider, acceptDigest(c.dealId)), bad);
        refused(c, sign(requester, acceptDigest(keccak256("another"))), bad);
        refused(c, "", bad);
    }

    function test_OnlyOnceAndOnlyWhenCommitted() external {
        (bytes32 dealId, Terms memory terms) = assigned();
        Claim memory c = Claim(terms, address(0), PRICE, 0, dealId);
        bytes memory signature = sign(requester, acceptDigest(dealId));
        refused(c, signature, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.ASSIGNED));
        c = commitAs(provider.addr, dealId, terms, address(0), PRICE);
        market.accept(c, signature);
        refused(
            c, signature, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.FINALIZED)
        );
    }

    function test_OnlyWhatWasCommitted() external {
        Claim memory c = committed(PRICE - 1);
        c.amount = PRICE;
        bytes memory signature = sign(requester, acceptDigest(c.dealId));
        refused(c, signature, abi.encodeWithSelector(IDealMarket.TermsMismatch.selector, c.dealId));
    }

    function acceptDigest(bytes32 dealId) private view returns (bytes32) {
        return digestOf(TypedData.accept(dealId));
    }

    function refused(Claim memory c, bytes memory signature, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(provider.addr);
        market.accept(c, signature);
    }
}
