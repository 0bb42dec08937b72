// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../../src/interfaces/IDisputeCourt.sol";
import {CourtClocks} from "../../../src/types/Case.sol";
import {Phase} from "../../../src/types/Deal.sol";
import {Pairing} from "../../base/Pairing.sol";
import {Campaign} from "./Campaign.sol";
import {CourtHandler} from "./CourtHandler.sol";

/// @notice What holds of deals and disputes whatever anybody does, in whatever order; see PROPERTIES.md.
/// @dev One function, since each one would be a campaign of its own. What holds of a single move, the handler asserts.
/// A quick run here; `make invariants` is the long one.
/// forge-config: default.invariant.fail-on-revert = true
/// forge-config: default.invariant.runs = 8
/// forge-config: default.invariant.depth = 300
/// forge-config: long.invariant.runs = 64
/// forge-config: long.invariant.depth = 500
/// forge-config: mutations.invariant.runs = 24
/// forge-config: mutations.invariant.depth = 300
contract CourtInvariantsTest is Pairing, Campaign {
    CourtHandler private handler;

    function setUp() public override {
        vm.warp(START);
        vm.roll(1_000);
        super.setUp();
        IDisputeCourt court = deployCourt(courtClocks());
        handler = new CourtHandler(market, court);
    }

    function courtClocks() private pure returns (CourtClocks memory c) {
        (c.joinBlocks, c.revealBlocks, c.minArbiters) = (3, 20, 7);
        (c.voteTime, c.revealTime, c.appealTime, c.answerTime) = (180, 150, 120, 180);
        (c.maxDispute, c.leaveTime) = (10 days, 1 hours);
        (c.minStake, c.gasAllowance) = (1 ether, 0.02 ether);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0].addr = address(handler);
        excluded[0].selectors = new bytes4[](2);
        excluded[0].selectors[0] = handler.endAll.selector;
        excluded[0].selectors[1] = handler.leaveAll.selector;
    }

    function invariant_TheBooksAgree() external view {
        assertSolvent();
        assertCourtOwesNoMore();
        assertLockedIsWhatOpenDealsLock();
        assertSlotsSayWhatHasHappened(true);
    }

    /// @dev At the end of each run a stranger ends everything, and nothing is left anywhere; all runs have reached everything.
    function afterInvariant() external {
        handler.endAll();
        assertSlotsSayWhatHasHappened(false);
        assertSolvent();
        assertLockedIsWhatOpenDealsLock();
        vm.assertEq(handler.escrowed(), 0, "no deal holds money");
        vm.assertEq(handler.openCases(), 0, "no case is open");
        vm.assertEq(
            freeOf(address(handler.court())), handler.arbitersHold(), "the court has what arbiters have in it"
        );
        handler.leaveAll();
        vm.assertEq(freeOf(address(handler.court())), 0, "the court has nothing");
        assertSolvent();
        addUp(handler);
    }

    /* WHAT HOLDS */

    function assertSolvent() private view {
        uint256 sum = market.totalBurned() + freeOf(address(handler.court())) + handler.escrowed();
        address[] memory actors = handler.actors();
        for (uint256 i = 0; i < actors.length; ++i) {
            sum += freeOf(actors[i]) + stakeOf(actors[i]);
        }
        vm.assertEq(token.balanceOf(address(market)), sum, "tokens are somebody's, in a deal, or burned");
    }

    function assertCourtOwesNoMore() private view {
        uint256 owed = handler.arbitersHold() + handler.lockedInCases();
        vm.assertLe(owed, freeOf(address(handler.court())), "the court has what it owes");
    }

    /// @dev Bonds of deals that have ended are free again, and no other deal's bond was touched.
    function assertLockedIsWhatOpenDealsLock() private view {
        address[] memory actors = handler.actors();
        for (uint256 i = 0; i < actors.length; ++i) {
            uint256 locked = lockedOf(actors[i]);
            vm.assertEq(locked, handler.bondsOf(actors[i]), "locked is what open deals lock");
            vm.assertLe(locked, stakeOf(actors[i]), "a stake covers its bonds");
            (, uint96 load) = market.hotKey(actors[i], handler.hotKeyOf(actors[i]));
            vm.assertEq(load, handler.loadOf(actors[i]), "a hot key's load is what it has locked");
        }
    }

    function assertSlotsSayWhatHasHappened(bool openOnly) private view {
        for (uint256 i = 0; i < handler.dealCount(); ++i) {
            (bytes32 id, Phase expected, uint256 open) = handler.dealAt(i);
            if (openOnly && expected >= Phase.FINALIZED) continue;
            (Phase phase, uint8 counted,,) = market.slot(id);
            Phase due = expected == Phase.COMMITTED && open != 0 ? Phase.CHALLENGED : expected;
            vm.assertEq(uint256(phase), uint256(due), "a slot says what has happened");
            if (due == Phase.CHALLENGED) vm.assertEq(counted, open, "each open case is counted once");
        }
    }
}
