// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {IStakes} from "../src/interfaces/IStakes.sol";
import {Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AssignTest is MarketTest {
    function testFuzz_LocksBothSides(uint96 price, uint96 verification, uint96 fraudBond) external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.price = uint96(bound(price, 0, FREE / 2));
        terms.verification = uint96(bound(verification, 0, FREE / 2));
        terms.fraudBond = uint96(bound(fraudBond, 0, STAKE - FREE / 20));
        bytes32 dealId = assignAs(provider.addr, terms);
        vm.assertEq(dealId, awardDigest(terms));
        vm.assertEq(freeOf(requester.addr), FREE - terms.price - terms.verification);
        vm.assertEq(lockedOf(provider.addr), terms.price / 10 + terms.fraudBond);
        (Phase phase, uint8 open, uint40 deadline, uint200 hash) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.ASSIGNED));
        vm.assertEq(open, 0);
        vm.assertEq(deadline, terms.commitBy + GRACE);
        vm.assertEq(hash, uint200(uint256(keccak256(abi.encode(terms, address(0))))));
    }

    function test_EmitsDealAssigned() external {
        giveHotKey(FRAUD_BOND + DEADLINE_BOND);
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        vm.expectEmit(address(market));
        emit IDealMarket.DealAssigned(awardDigest(terms), requester.addr, provider.addr, PRICE, hotKey.addr);
        vm.prank(hotKey.addr);
        market.assign(terms, signature);
    }

    function test_OnlyOnceForEver() external {
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        bytes32 dealId = assignAs(provider.addr, terms);
        refused(
            terms, signature, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.ASSIGNED)
        );
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
        refused(
            terms, signature, abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.REFUNDED)
        );
    }

    function test_UntilAssignBy() external {
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        vm.warp(terms.assignBy + 1);
        refused(terms, signature, abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.assignBy));
        vm.warp(terms.assignBy);
        assignAs(provider.addr, terms);
    }

    function test_OnlyForTheProviderNamed() external {
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        vm.expectRevert(abi.encodeWithSelector(IStakes.NotActingFor.selector, stranger.addr, provider.addr));
        vm.prank(stranger.addr);
        market.assign(terms, signature);
    }

    /// @dev Whatever is altered, the signature is for something else.
    function testFuzz_RefusesAlteredTerms(uint256 field, uint256 to) external {
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        field = bound(field, 0, 6);
        if (field == 0) terms.demandDigest = bytes32(to);
        if (field == 1) terms.price = uint96(bound(to, 0, PRICE - 1));
        if (field == 2) terms.verification = uint96(bound(to, 0, VERIFICATION - 1));
        if (field == 3) terms.fraudBond = uint96(bound(to, 0, FRAUD_BOND - 1));
        if (field == 4) terms.commitBy = uint40(bound(to, terms.commitBy + 1, block.timestamp + 1 days));
        if (field == 5) terms.window = uint32(bound(to, WINDOW_FLOOR, terms.window - 1));
        if (field == 6) terms.salt = uint256(keccak256(abi.encode(to)));
        refused(terms, signature, abi.encodeWithSelector(IDealMarket.BadSignature.selector, requester.addr));
    }

    function test_RefusesAnotherMode() external {
        Mode[3] memory modes = [Mode.DIRECT, Mode.AWARD, Mode.FIRST];
        for (uint256 i = 0; i < modes.length; ++i) {
            Terms memory terms = newTerms(modes[i]);
            terms.provider = provider.addr;
            refused(terms, signAward(terms), abi.encodeWithSelector(IDealMarket.WrongMode.selector, modes[i]));
        }
    }

    function test_RefusesNobody() external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.provider = address(0);
        refused(terms, signAward(terms), abi.encodeWithSelector(IDealMarket.BadProvider.selector, address(0)));
    }

    function test_NeedsTheRequestersMoney() external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.price = FREE;
        uint256 needed = uint256(FREE) + VERIFICATION;
        refused(
            terms,
            signAward(terms),
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, requester.addr, FREE, needed)
        );
    }

    function test_NeedsTheStake() external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.fraudBond = STAKE;
        uint256 needed = uint256(STAKE) + DEADLINE_BOND;
        refused(
            terms,
            signAward(terms),
            abi.encodeWithSelector(IStakes.InsufficientStake.selector, provider.addr, STAKE, needed)
        );
    }

    function test_OneStakeIsNotLockedTwice() external {
        Terms memory terms = newTerms(Mode.LOCK);
        terms.fraudBond = STAKE / 2;
        assignAs(provider.addr, terms);
        terms.salt = 77;
        uint256 left = STAKE - STAKE / 2 - DEADLINE_BOND;
        refused(
            terms,
            signAward(terms),
            abi.encodeWithSelector(
                IStakes.InsufficientStake.selector, provider.addr, left, uint256(STAKE / 2) + DEADLINE_BOND
            )
        );
    }

    function test_OneCanBuyFromOneself() external {
        deposit(provider.addr, ESCROWED);
        Terms memory terms = newTerms(Mode.LOCK);
        terms.requester = provider.addr;
        bytes memory signature = sign(provider, awardDigest(terms));
        vm.prank(provider.addr);
        bytes32 dealId = market.assign(terms, signature);
        vm.assertEq(freeOf(provider.addr), 0);
        vm.prank(provider.addr);
        market.abandon(dealId, terms, address(0));
        assertSettled();
    }

    function refused(Terms memory terms, bytes memory signature, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(provider.addr);
        market.assign(terms, signature);
    }
}
