// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AssignFirstTest is MarketTest {
    function test_FirstComesFirst() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.FIRST);
        vm.expectEmit(address(market));
        emit IDealMarket.DealAssigned(dealId, requester.addr, provider.addr, PRICE, address(0));
        vm.prank(provider.addr);
        vm.assertEq(market.assignFirst(provider.addr, terms), dealId);
        vm.assertEq(lockedOf(provider.addr), DEADLINE_BOND + FRAUD_BOND);
        terms.provider = provider.addr;
        (,, uint40 deadline, uint200 hash) = market.slot(dealId);
        vm.assertEq(deadline, terms.commitBy + GRACE);
        vm.assertEq(hash, uint200(uint256(keccak256(abi.encode(terms, address(0))))));

        deposit(stranger.addr, STAKE);
        vm.startPrank(stranger.addr);
        market.stake(STAKE);
        terms.provider = address(0);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.ASSIGNED));
        market.assignFirst(stranger.addr, terms);
    }

    function test_NeedsStake() external {
        (, Terms memory terms) = announced(Mode.FIRST);
        uint256 bonds = uint256(DEADLINE_BOND) + FRAUD_BOND;
        refused(
            stranger,
            terms,
            abi.encodeWithSelector(IStakes.InsufficientStake.selector, stranger.addr, 0, bonds)
        );
    }

    function test_OnlyByTheProviderItself() external {
        (, Terms memory terms) = announced(Mode.FIRST);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, stranger.addr, provider.addr));
        vm.prank(stranger.addr);
        market.assignFirst(provider.addr, terms);
    }

    function test_UntilAssignBy() external {
        (, Terms memory terms) = announced(Mode.FIRST);
        vm.warp(terms.assignBy + 1);
        refused(provider, terms, abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.assignBy));
        vm.warp(terms.assignBy);
        vm.prank(provider.addr);
        market.assignFirst(provider.addr, terms);
    }

    function test_NotAfterACancel() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.FIRST);
        vm.prank(requester.addr);
        market.cancel(terms);
        refused(
            provider, terms, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.CANCELLED)
        );
    }

    /// @dev Altered terms are another deal, which nobody has announced.
    function testFuzz_NotWithoutAnAnnouncement(uint96 price) external {
        vm.assume(price != PRICE);
        (, Terms memory terms) = announced(Mode.FIRST);
        terms.price = price;
        bytes32 dealId = announcementDigest(terms);
        refused(provider, terms, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.NONE));
    }

    function test_NotInAnotherMode() external {
        (, Terms memory terms) = announced(Mode.AWARD);
        refused(provider, terms, abi.encodeWithSelector(IDealMarket.WrongMode.selector, Mode.AWARD));
    }

    function test_NotToNobody() external {
        (, Terms memory terms) = announced(Mode.FIRST);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.BadProvider.selector, address(0)));
        market.assignFirst(address(0), terms);
    }

    function test_HotKeyMayTakeIt() external {
        giveHotKey(FRAUD_BOND + DEADLINE_BOND);
        (bytes32 dealId, Terms memory terms) = announced(Mode.FIRST);
        vm.prank(hotKey.addr);
        market.assignFirst(provider.addr, terms);
        terms.provider = provider.addr;
        commitAs(hotKey.addr, dealId, terms, hotKey.addr, PRICE);
        assertPhase(dealId, Phase.COMMITTED);
    }

    function refused(Party memory by, Terms memory terms, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(by.addr);
        market.assignFirst(by.addr, terms);
    }
}
