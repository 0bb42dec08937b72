// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AssignAnnouncedTest is MarketTest {
    function testFuzz_AwardReturnsWhatIsUnderTheCap(uint96 price) external {
        price = uint96(bound(price, 0, PRICE));
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        bytes memory signature = signAwardFor(dealId, terms, provider.addr, price);
        vm.prank(provider.addr);
        vm.assertEq(market.assignAnnounced(terms, price, provider.addr, signature), dealId);

        vm.assertEq(freeOf(requester.addr), FREE - price - VERIFICATION);
        vm.assertEq(lockedOf(provider.addr), price / 10 + FRAUD_BOND);
        (Phase phase,, uint40 deadline, uint200 hash) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.ASSIGNED));
        vm.assertEq(deadline, terms.commitBy + GRACE);
        (terms.provider, terms.price) = (provider.addr, price);
        vm.assertEq(hash, uint200(uint256(keccak256(abi.encode(terms, address(0))))));
    }

    function test_AwardStaysUnderTheCap() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        bytes memory signature = signAwardFor(dealId, terms, provider.addr, PRICE + 1);
        refused(
            terms,
            PRICE + 1,
            signature,
            abi.encodeWithSelector(IDealMarket.BadPrice.selector, PRICE + 1, PRICE)
        );
    }

    function test_AwardIsForOneProviderAtOnePrice() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        bytes memory bad = abi.encodeWithSelector(IDealMarket.BadSignature.selector, requester.addr);
        refused(terms, PRICE, signAwardFor(dealId, terms, stranger.addr, PRICE), bad);
        refused(terms, PRICE, signAwardFor(dealId, terms, provider.addr, PRICE - 1), bad);
        refused(terms, PRICE, signAwardFor(keccak256("another"), terms, provider.addr, PRICE), bad);
        refused(terms, PRICE, "", bad);
        refused(terms, PRICE, signAward(terms), bad);
    }

    function test_OnlyTheAwardedMaySend() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        bytes memory signature = signAwardFor(dealId, terms, provider.addr, PRICE);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, stranger.addr, provider.addr));
        vm.prank(stranger.addr);
        market.assignAnnounced(terms, PRICE, provider.addr, signature);
    }

    function test_UntilAssignBy() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        bytes memory signature = signAwardFor(dealId, terms, provider.addr, PRICE);
        vm.warp(terms.assignBy + 1);
        refused(terms, PRICE, signature, abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.assignBy));
        vm.warp(terms.assignBy);
        vm.prank(provider.addr);
        market.assignAnnounced(terms, PRICE, provider.addr, signature);
    }

    function test_NotInAnotherMode() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.FIRST);
        bytes memory signature = signAwardFor(dealId, terms, provider.addr, PRICE);
        refused(terms, PRICE, signature, abi.encodeWithSelector(IDealMarket.WrongMode.selector, Mode.FIRST));
    }

    function test_OnlyOnce() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        bytes memory signature = signAwardFor(dealId, terms, provider.addr, PRICE);
        vm.prank(provider.addr);
        market.assignAnnounced(terms, PRICE, provider.addr, signature);
        refused(
            terms,
            PRICE,
            signature,
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.ASSIGNED)
        );
    }

    function refused(Terms memory terms, uint96 price, bytes memory signature, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(provider.addr);
        market.assignAnnounced(terms, price, provider.addr, signature);
    }
}
