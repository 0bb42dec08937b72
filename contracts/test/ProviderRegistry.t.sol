// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ProviderRegistry} from "../src/ProviderRegistry.sol";
import {IProviderRegistry, Reputation} from "../src/interfaces/IProviderRegistry.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {Claim, Mode, Phase, Terms} from "../src/types/Deal.sol";
import {Domain} from "./base/Domain.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract ProviderRegistryTest is MarketTest {
    // A key whose public point is known: 1, so the generator of secp256k1 itself; its y is even.
    uint256 private constant X = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;
    uint256 private constant Y = 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8;
    string private constant CLASS = "x86_64-v3";

    ProviderRegistry private registry;
    Party private peer = Party(1, vm.addr(1));

    function setUp() public override {
        super.setUp();
        registry = new ProviderRegistry(market);
    }

    /* NODES */

    function test_BindsAPeerToItsOwner() external {
        bytes memory signature = binding(peer, provider.addr);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.NodeRegistered(
            provider.addr, peer.addr, abi.encodePacked(bytes1(0x02), X), CLASS, keccak256("offers")
        );
        vm.prank(provider.addr);
        vm.assertEq(registry.register(X, Y, signature, CLASS, keccak256("offers")), peer.addr);
        (address owner, uint40 since) = registry.nodeOf(peer.addr);
        vm.assertEq(owner, provider.addr);
        vm.assertEq(since, START);
    }

    function test_OddPointsAreCompressedWithThree() external {
        uint256 odd = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F - Y;
        uint256 key = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364140;
        Party memory mirrored = Party(key, vm.addr(key));
        bytes memory signature = binding(mirrored, provider.addr);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.NodeRegistered(
            provider.addr, mirrored.addr, abi.encodePacked(bytes1(0x03), X), CLASS, 0
        );
        vm.prank(provider.addr);
        registry.register(X, odd, signature, CLASS, 0);
    }

    function test_NeedsThePeersSignatureForThisOwner() external {
        bytes memory forAnother = binding(peer, stranger.addr);
        bytes memory byAnother = binding(stranger, provider.addr);
        vm.expectRevert();
        vm.prank(provider.addr);
        registry.register(X, Y, forAnother, CLASS, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IProviderRegistry.BadPeerSignature.selector, peer.addr, stranger.addr)
        );
        vm.prank(provider.addr);
        registry.register(X, Y, byAnother, CLASS, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IProviderRegistry.BadPeerSignature.selector, peer.addr, address(0))
        );
        vm.prank(provider.addr);
        registry.register(X, Y, "", CLASS, 0);
    }

    function test_APeerHasOneOwner() external {
        register();
        bytes memory signature = binding(peer, stranger.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IProviderRegistry.PeerTaken.selector, peer.addr, provider.addr)
        );
        vm.prank(stranger.addr);
        registry.register(X, Y, signature, CLASS, 0);
    }

    function test_RemovedPeersMayMove() external {
        register();
        vm.prank(provider.addr);
        registry.removeNode(peer.addr);
        bytes memory signature = binding(peer, stranger.addr);
        vm.prank(stranger.addr);
        registry.register(X, Y, signature, CLASS, 0);
        (address owner,) = registry.nodeOf(peer.addr);
        vm.assertEq(owner, stranger.addr);
    }

    function test_OnlyTheOwnerChangesANode() external {
        register();
        bytes memory refusal =
            abi.encodeWithSelector(IProviderRegistry.NotOwner.selector, peer.addr, provider.addr);
        vm.startPrank(stranger.addr);
        vm.expectRevert(refusal);
        registry.updateNode(peer.addr, CLASS, 0);
        vm.expectRevert(refusal);
        registry.removeNode(peer.addr);
        vm.stopPrank();
        vm.expectEmit(address(registry));
        emit IProviderRegistry.NodeUpdated(provider.addr, peer.addr, "H200", keccak256("new"));
        vm.prank(provider.addr);
        registry.updateNode(peer.addr, "H200", keccak256("new"));
    }

    function test_LimitsTheClass() external {
        bytes memory signature = binding(peer, provider.addr);
        vm.startPrank(provider.addr);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ClassTooLong.selector, 65));
        registry.register(X, Y, signature, string(new bytes(65)), 0);
        registry.register(X, Y, signature, string(new bytes(64)), 0);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ClassTooLong.selector, 65));
        registry.updateNode(peer.addr, string(new bytes(65)), 0);
    }

    /* REPUTATION */

    function test_CountsEachEnd() external {
        Claim memory c = committed(PRICE);
        afterWindow();
        market.claim(c);
        registry.record(c);

        c = committed(PRICE - 1);
        vm.prank(requester.addr);
        market.accept(c, "");
        registry.record(c);

        (bytes32 dealId, Terms memory terms) = assigned();
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
        registry.record(Claim(terms, address(0), 0, 0, dealId));

        (dealId, terms) = assigned();
        vm.warp(terms.commitBy + GRACE + 1);
        market.expire(dealId, terms, address(0));
        registry.record(Claim(terms, address(0), 0, 0, dealId));

        (dealId, terms) = assigned();
        bytes memory signature =
            sign(requester, digestOf(TypedData.cancelMutual(dealId, 0, uint40(block.timestamp))));
        vm.prank(provider.addr);
        market.cancelMutual(dealId, terms, address(0), 0, uint40(block.timestamp), signature, "");
        registry.record(Claim(terms, address(0), 0, 0, dealId));

        Reputation memory reputation = registry.reputationOf(provider.addr);
        vm.assertEq(reputation.finalized, 1);
        vm.assertEq(reputation.accepted, 1);
        vm.assertEq(reputation.abandoned, 1);
        vm.assertEq(reputation.expired, 1);
        vm.assertEq(reputation.cancelled, 1);
        vm.assertEq(reputation.paid, 2 * uint256(PRICE) - 1);
    }

    function test_CountsOnce() external {
        Claim memory c = committed(PRICE);
        afterWindow();
        market.claim(c);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.DealRecorded(c.dealId, provider.addr, uint8(Phase.FINALIZED));
        registry.record(c);
        vm.assertTrue(registry.recorded(c.dealId));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.AlreadyRecorded.selector, c.dealId));
        registry.record(c);
    }

    function test_CountsNothingThatHasNotEnded() external {
        Claim memory c = committed(PRICE);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.NotEnded.selector, c.dealId));
        registry.record(c);
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        vm.prank(requester.addr);
        market.cancel(terms);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.NotEnded.selector, dealId));
        registry.record(Claim(terms, address(0), 0, 0, dealId));
        terms.provider = provider.addr;
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.DealMismatch.selector, dealId));
        registry.record(Claim(terms, address(0), 0, 0, dealId));
    }

    function testFuzz_CountsOnlyTheTruth(uint96 amount, address liar) external {
        Claim memory c = committed(PRICE);
        afterWindow();
        market.claim(c);
        vm.assume(amount != PRICE && liar != provider.addr && liar != address(0));
        c.amount = amount;
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.DealMismatch.selector, c.dealId));
        registry.record(c);
        c.amount = PRICE;
        c.terms.provider = liar;
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.DealMismatch.selector, c.dealId));
        registry.record(c);
    }

    function register() private {
        bytes memory signature = binding(peer, provider.addr);
        vm.prank(provider.addr);
        registry.register(X, Y, signature, CLASS, 0);
    }

    function binding(Party memory by, address owner) private view returns (bytes memory) {
        return sign(by, Domain.digest(address(registry), TypedData.peerBinding(owner)));
    }
}
