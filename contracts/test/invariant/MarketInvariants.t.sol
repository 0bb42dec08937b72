// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Phase} from "../../src/types/Deal.sol";
import {MarketTest} from "../base/MarketTest.sol";
import {MarketHandler} from "./MarketHandler.sol";

/// @notice What holds whatever the parties do, in whatever order; see PROPERTIES.md.
/// forge-config: default.invariant.fail-on-revert = true
contract MarketInvariantsTest is MarketTest {
    MarketHandler private handler;

    function setUp() public override {
        vm.warp(START);
        super.setUp();
        market = deployMarket(address(token), address(0));
        handler = new MarketHandler(market);
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            handler.deposit(i, 1_000 ether);
            handler.stake(i, 300 ether);
            handler.setHotKey(i, 200 ether);
            for (uint256 j = 0; j < handler.ACTORS(); ++j) {
                handler.earmark(i, j, 100 ether);
            }
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0].addr = address(handler);
        excluded[0].selectors = new bytes4[](1);
        excluded[0].selectors[0] = MarketHandler.endAll.selector;
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function invariant_Solvent() external view {
        vm.assertEq(
            token.balanceOf(address(market)),
            held() + handler.escrowed(),
            "tokens are somebody's, in a deal, or burned"
        );
    }

    function invariant_LockedStakeIsWhatOpenDealsLock() external view {
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            address provider_ = handler.actor(i);
            vm.assertEq(lockedOf(provider_), handler.bondsOf(provider_), "locked is what open deals lock");
            vm.assertLe(lockedOf(provider_), stakeOf(provider_), "a stake covers its bonds");
        }
    }

    function invariant_HotKeyLoadIsWhatItsOpenDealsLock() external view {
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            address provider_ = handler.actor(i);
            (, uint96 load) = market.hotKey(provider_, handler.hotKey(provider_));
            vm.assertEq(load, handler.loadOf(provider_), "a hot key's load is what it has locked");
        }
    }

    function invariant_SlotsSayWhatHasHappened() external view {
        for (uint256 i = 0; i < handler.dealCount(); ++i) {
            MarketHandler.Deal memory deal = handler.dealAt(i);
            assertPhase(deal.id, deal.phase);
            vm.assertTrue(deal.phase != Phase.NONE);
        }
    }

    /// @dev At the end of each run: waiting and anybody's transactions end every deal, and free every bond.
    function afterInvariant() external {
        handler.endAll();
        vm.assertEq(handler.escrowed(), 0, "no deal holds money");
        vm.assertEq(token.balanceOf(address(market)), held(), "tokens are somebody's, or burned");
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            vm.assertEq(lockedOf(handler.actor(i)), 0, "no bond is locked");
        }
    }

    function held() private view returns (uint256 sum) {
        sum = market.totalBurned() + freeOf(address(0xbeef));
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            address holder = handler.actor(i);
            sum += freeOf(holder) + stakeOf(holder);
            for (uint256 j = 0; j < handler.ACTORS(); ++j) {
                (uint96 marked,,) = market.earmarkOf(holder, handler.actor(j));
                sum += marked;
            }
        }
    }
}
