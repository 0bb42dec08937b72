// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {DealSheetLib} from "../src/types/DealSheet.sol";
import {Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract AnnounceTest is MarketTest {
    function testFuzz_LocksPriceAndDeposit(uint96 price, uint96 verification, bool first) external {
        Terms memory terms = newTerms(first ? Mode.FIRST : Mode.AWARD);
        terms.price = uint96(bound(price, 0, FREE / 2));
        terms.verification = uint96(bound(verification, 0, FREE / 2));
        vm.prank(requester.addr);
        bytes32 dealId = market.announce(terms, "");
        vm.assertEq(freeOf(requester.addr), FREE - terms.price - terms.verification);
        vm.assertEq(dealId, announcementDigest(terms));
        (Phase phase, uint8 open, uint40 deadline, uint200 hash) = market.slot(dealId);
        vm.assertEq(uint256(phase), uint256(Phase.ANNOUNCED));
        vm.assertEq(open, 0);
        vm.assertEq(deadline, terms.assignBy);
        vm.assertEq(hash, uint200(uint256(dealId)));
    }

    function testFuzz_EmitsTermsAndLocator(bytes calldata noise) external {
        bytes memory locator = noise[:noise.length < 512 ? noise.length : 512];
        Terms memory terms = newTerms(Mode.AWARD);
        vm.expectEmit(address(market));
        emit IDealMarket.DealAnnounced(announcementDigest(terms), terms, locator);
        vm.prank(requester.addr);
        market.announce(terms, locator);
    }

    function test_OnlyOnce() external {
        (bytes32 dealId, Terms memory terms) = announced(Mode.AWARD);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.WrongPhase.selector, dealId, Phase.ANNOUNCED));
        vm.prank(requester.addr);
        market.announce(terms, "");
    }

    function test_OnlyByTheRequester() external {
        refused(
            newTerms(Mode.AWARD),
            stranger.addr,
            abi.encodeWithSelector(IDealMarket.NotRequester.selector, stranger.addr, requester.addr)
        );
    }

    function test_OnlyInAnAnnouncedMode() external {
        for (uint8 mode = 0; mode < 255; ++mode) {
            if (mode == uint8(Mode.AWARD) || mode == uint8(Mode.FIRST)) continue;
            Terms memory terms = newTerms(Mode.AWARD);
            terms.mode = mode;
            refused(terms, abi.encodeWithSelector(IDealMarket.WrongMode.selector, mode));
        }
    }

    function test_NamesNoProvider() external {
        Terms memory terms = newTerms(Mode.AWARD);
        terms.provider = provider.addr;
        refused(terms, abi.encodeWithSelector(IDealMarket.BadProvider.selector, provider.addr));
    }

    function test_NeedsTheMoney() external {
        Terms memory terms = newTerms(Mode.AWARD);
        terms.price = FREE;
        refused(
            terms,
            abi.encodeWithSelector(
                IEscrow.InsufficientFree.selector, requester.addr, FREE, uint256(FREE) + VERIFICATION
            )
        );
    }

    function test_HasLimitsInTime() external {
        Terms memory terms = newTerms(Mode.AWARD);
        terms.assignBy = uint40(block.timestamp - 1);
        refused(terms, abi.encodeWithSelector(IDealMarket.TooLate.selector, terms.assignBy));

        terms = newTerms(Mode.AWARD);
        terms.assignBy = terms.commitBy + 1;
        refused(terms, abi.encodeWithSelector(IDealMarket.BadTimes.selector, terms.assignBy, terms.commitBy));

        terms = newTerms(Mode.AWARD);
        terms.commitBy = uint40(block.timestamp + 366 days + 1);
        refused(terms, abi.encodeWithSelector(IDealMarket.BadTimes.selector, terms.assignBy, terms.commitBy));

        terms = newTerms(Mode.AWARD);
        terms.window = WINDOW_FLOOR - 1;
        refused(terms, abi.encodeWithSelector(IDealMarket.BadWindow.selector, terms.window));

        terms.window = 30 days + 1;
        refused(terms, abi.encodeWithSelector(IDealMarket.BadWindow.selector, terms.window));
    }

    function test_LimitsTheLocator() external {
        Terms memory terms = newTerms(Mode.AWARD);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.LocatorTooLong.selector, 513));
        vm.prank(requester.addr);
        market.announce(terms, new bytes(513));
        vm.prank(requester.addr);
        market.announce(terms, new bytes(512));
    }

    /// @dev Bits outside of a field's type would give the same terms a second hash.
    function testFuzz_RefusesDirtyFields(uint256 field, uint256 dirt) external {
        uint8[11] memory widths = [160, 160, 255, 96, 96, 96, 40, 40, 32, 8, 255];
        field = bound(field, 0, 10);
        if (widths[field] == 255) return;
        dirt = (dirt | 1) << widths[field];
        if (dirt == 0) return;
        bytes memory data = abi.encodeCall(IDealMarket.announce, (newTerms(Mode.AWARD), ""));
        assembly {
            let word := add(add(data, 0x24), mul(field, 0x20))
            mstore(word, or(mload(word), dirt))
        }
        vm.prank(requester.addr);
        (bool success, bytes memory answer) = address(market).call(data);
        vm.assertFalse(success);
        vm.assertEq(answer, abi.encodeWithSelector(DealSheetLib.DirtyTerms.selector));
    }

    function refused(Terms memory terms, bytes memory reason) private {
        refused(terms, requester.addr, reason);
    }

    function refused(Terms memory terms, address sender, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(sender);
        market.announce(terms, "");
    }
}
