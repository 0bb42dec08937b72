// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {Claim, Phase} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract ClaimTest is MarketTest {
    function testFuzz_PaysTheAmountAndReturnsTheRest(uint96 amount, address anyone) external {
        amount = uint96(bound(amount, 0, PRICE));
        Claim memory c = committed(amount);
        afterWindow();
        vm.expectEmit(address(market));
        emit IDealMarket.DealFinalized(c.dealId, provider.addr, amount, ESCROWED - amount);
        vm.prank(anyone);
        market.claim(c);
        vm.assertEq(freeOf(provider.addr), amount);
        vm.assertEq(freeOf(requester.addr), FREE - amount);
        assertPhase(c.dealId, Phase.FINALIZED);
        assertSettled();
    }

    function test_AfterTheWindowOnly() external {
        Claim memory c = committed(PRICE);
        uint40 ends = uint40(block.timestamp + c.terms.window);
        vm.warp(ends);
        refused(c, Phase.COMMITTED, ends);
        vm.warp(ends + 1);
        market.claim(c);
        (,, uint40 deadline,) = market.slot(c.dealId);
        vm.assertEq(deadline, ends);
    }

    function test_PaysOnce() external {
        Claim memory c = committed(PRICE);
        uint40 ends = uint40(block.timestamp + c.terms.window);
        afterWindow();
        market.claim(c);
        refused(c, Phase.FINALIZED, ends);
    }

    function testFuzz_OnlyWhatWasCommitted(uint256 field, uint256 to) external {
        Claim memory c = committed(PRICE / 2);
        uint40 ends = uint40(block.timestamp + c.terms.window);
        afterWindow();
        field = bound(field, 0, 6);
        if (field == 0) c.amount = uint96(bound(to, PRICE / 2 + 1, type(uint96).max));
        if (field == 1) c.terms.price = uint96(bound(to, PRICE + 1, type(uint96).max));
        if (field == 2) c.terms.provider = stranger.addr;
        if (field == 3) c.terms.requester = stranger.addr;
        if (field == 4) c.commitmentDigest = bytes32(to);
        if (field == 5) c.lockedBy = address(uint160(bound(to, 1, type(uint160).max)));
        if (field == 6) c.terms.fraudBond = uint96(bound(to, 0, FRAUD_BOND - 1));
        refused(c, Phase.COMMITTED, ends);
    }

    function test_NotBeforeTheCommit() external {
        (bytes32 dealId,) = assigned();
        Claim memory c;
        c.dealId = dealId;
        (,, uint40 deadline,) = market.slot(dealId);
        refused(c, Phase.ASSIGNED, deadline);
        c.dealId = keccak256("nothing");
        refused(c, Phase.NONE, 0);
    }

    function test_BatchPaysAll() external {
        Claim[] memory batch = new Claim[](5);
        for (uint256 i = 0; i < batch.length; ++i) {
            batch[i] = i % 2 == 0 ? committed(PRICE) : direct(PRICE);
        }
        afterWindow();
        market.claimBatch(batch);
        vm.assertEq(freeOf(provider.addr), 5 * uint256(PRICE));
        assertSettled();
    }

    function test_BatchNamesTheWrongOneAndPaysNobody() external {
        Claim[] memory batch = new Claim[](3);
        for (uint256 i = 0; i < 3; ++i) {
            batch[i] = committed(PRICE);
        }
        batch[2] = batch[1];
        afterWindow();
        uint40 ends = uint40(block.timestamp - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IDealMarket.NotClaimable.selector, 2, batch[1].dealId, Phase.FINALIZED, ends
            )
        );
        market.claimBatch(batch);
        vm.assertEq(freeOf(provider.addr), 0);
    }

    function refused(Claim memory c, Phase phase, uint40 deadline) private {
        vm.expectRevert(
            abi.encodeWithSelector(IDealMarket.NotClaimable.selector, 0, c.dealId, phase, deadline)
        );
        market.claim(c);
    }
}
