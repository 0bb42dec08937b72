// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, CourtClocks, Kind, Verdict} from "../../src/types/Case.sol";
import {Phase} from "../../src/types/Deal.sol";
import {MarketTest} from "../base/MarketTest.sol";
import {Fault} from "./CourtBook.sol";
import {CourtHandler} from "./CourtHandler.sol";

/// @notice What holds of deals and disputes whatever anybody does, in whatever order; see PROPERTIES.md.
/// @dev One function, since each one would be a campaign of its own. What holds of a single move, the handler asserts.
/// A quick run here; `make invariants` is the long one.
/// forge-config: default.invariant.fail-on-revert = true
/// forge-config: default.invariant.runs = 8
/// forge-config: default.invariant.depth = 300
/// forge-config: long.invariant.runs = 64
/// forge-config: long.invariant.depth = 500
contract CourtInvariantsTest is MarketTest {
    CourtHandler private handler;

    function setUp() public override {
        vm.warp(START);
        vm.roll(1_000);
        super.setUp();
        address predicted = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        market = deployMarket(address(token), predicted);
        IDisputeCourt court =
            IDisputeCourt(deploy("DisputeCourt.sol:DisputeCourt", abi.encode(market, courtClocks())));
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
        excluded[0].selectors[0] = CourtHandler.endAll.selector;
        excluded[0].selectors[1] = CourtHandler.leaveAll.selector;
    }

    function invariant_TheBooksAgree() external view {
        assertSolvent();
        assertCourtOwesNoMore();
        assertLockedIsWhatOpenDealsLock();
        assertSlotsSayWhatHasHappened(true);
    }

    /// @dev At the end of each run a stranger ends everything, and nothing is left anywhere.
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
    }

    /// @dev The same moves by a fixed seed, that the counts show what the histories above reach.
    function test_ASeededHistoryReachesEverything() external {
        bytes4[27] memory moves = [
            CourtHandler.trade.selector,
            CourtHandler.trade.selector,
            CourtHandler.commit.selector,
            CourtHandler.commit.selector,
            CourtHandler.abandon.selector,
            CourtHandler.expire.selector,
            CourtHandler.claim.selector,
            CourtHandler.accept.selector,
            CourtHandler.challenge.selector,
            CourtHandler.challenge.selector,
            CourtHandler.join.selector,
            CourtHandler.demandLeaves.selector,
            CourtHandler.challengeSpec.selector,
            CourtHandler.beginAudit.selector,
            CourtHandler.show.selector,
            CourtHandler.draw.selector,
            CourtHandler.vote.selector,
            CourtHandler.reveal.selector,
            CourtHandler.decide.selector,
            CourtHandler.answer.selector,
            CourtHandler.goOn.selector,
            CourtHandler.steal.selector,
            CourtHandler.sweep.selector,
            CourtHandler.payCommittee.selector,
            CourtHandler.strike.selector,
            CourtHandler.mine.selector,
            CourtHandler.sleep.selector
        ];
        for (uint256 i = 0; i < 5_000; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("history", i)));
            uint256 more = uint256(keccak256(abi.encode(seed)));
            bytes4 move = moves[seed % moves.length];
            (bool done, bytes memory why) = address(handler).call(abi.encodePacked(move, seed >> 8, more));
            if (!done) {
                assembly ("memory-safe") {
                    revert(add(why, 0x20), mload(why))
                }
            }
        }
        for (uint256 i = uint256(CasePhase.OPEN); i <= uint256(CasePhase.CLOSED); ++i) {
            vm.assertLe(10, handler.phases(CasePhase(i)), "every phase of a case");
        }
        for (uint256 i = uint256(Verdict.UPHELD); i <= uint256(Verdict.MOOT); ++i) {
            vm.assertLe(2, handler.verdicts(Verdict(i)), "every verdict");
        }
        for (uint256 i = uint256(Kind.STEP); i <= uint256(Kind.AUDIT); ++i) {
            vm.assertLe(2, handler.kinds(Kind(i)), "every kind of case");
        }
        for (uint256 i = uint256(Fault.NONE); i <= uint256(Fault.SILENT); ++i) {
            vm.assertLe(2, handler.faults(Fault(i)), "every kind of result");
        }
        for (uint256 i = uint256(Phase.FINALIZED); i <= uint256(Phase.SPLIT); ++i) {
            if (Phase(i) != Phase.CANCELLED) vm.assertLe(2, handler.ends(Phase(i)), "every end of a deal");
        }
        string[6] memory what =
            ["self-dispute", "copier", "redraw", "retarget", "appeal of right", "appeal of wrong"];
        for (uint256 i = 0; i < what.length; ++i) {
            vm.assertLe(1, handler.seen(bytes32(bytes(what[i]))), what[i]);
        }
        vm.assertLe(2 * handler.idle(), 3 * handler.made(), "at least two of five moves find something to do");
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
