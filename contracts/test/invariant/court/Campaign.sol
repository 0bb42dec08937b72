// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CasePhase, Kind, Verdict} from "../../../src/types/Case.sol";
import {Phase} from "../../../src/types/Deal.sol";
import {Test} from "../../base/Test.sol";
import {Fault} from "./Books.sol";
import {CourtHandler} from "./CourtHandler.sol";

/// @notice What all runs of a campaign together must have reached.
/// @dev Each run begins with the same state, so a run's counts are added up in the environment of the process, which
/// lasts. From the eighth run on each phase, verdict, kind and end must have been seen; from the thirty-second on all of
/// them, and every move and strategy, a few times.
abstract contract Campaign is Test {
    uint256 private constant RUNS = 8;
    uint256 private constant MANY_RUNS = 32;
    uint256 private constant FEW = 3;
    /// @dev Of so many turns at most one finds nothing to do.
    uint256 private constant IDLE_SHARE = 4;

    /// @dev Of contracts that were changed on purpose, what they do not reach says nothing: chance takes other ways there.
    function addUp(CourtHandler handler) internal {
        if (vm.envOr("CAPANODE_MUTATED", uint256(0)) != 0) return;
        uint256 runs = sum("runs", 1);
        uint256 least = runs < RUNS ? 0 : runs < MANY_RUNS ? 1 : FEW;
        for (uint256 i = uint256(CasePhase.OPEN); i <= uint256(CasePhase.CLOSED); ++i) {
            reached("a case in phase ", i, handler.phases(CasePhase(i)), least);
        }
        for (uint256 i = uint256(Verdict.UPHELD); i <= uint256(Verdict.MOOT); ++i) {
            reached("verdict ", i, handler.verdicts(Verdict(i)), least);
        }
        for (uint256 i = uint256(Kind.STEP); i <= uint256(Kind.AUDIT); ++i) {
            reached("a case of kind ", i, handler.kinds(Kind(i)), least);
        }
        for (uint256 i = uint256(Fault.NONE); i <= uint256(Fault.SILENT); ++i) {
            reached("a result with fault ", i, handler.faults(Fault(i)), least);
        }
        for (uint256 i = uint256(Phase.FINALIZED); i <= uint256(Phase.SPLIT); ++i) {
            reached("a deal that ends in ", i, handler.ends(Phase(i)), least);
        }
        string[43] memory plays = played();
        for (uint256 i = 0; i < plays.length; ++i) {
            reached(plays[i], handler.seen(plays[i]), runs < MANY_RUNS ? 0 : FEW);
        }
        uint256 turns = sum("turns", handler.made() + handler.idle());
        uint256 idle = sum("idle", handler.idle());
        if (least != 0) vm.assertLe(IDLE_SHARE * idle, turns, "one of four turns at most is idle");
    }

    /// @dev Every move, and the strategies that no count above tells apart.
    function played() private pure returns (string[43] memory) {
        return [
            "announce",
            "cancel",
            "accept",
            "take",
            "lock",
            "direct",
            "hot key locks",
            "commit",
            "abandon",
            "lapse",
            "expire",
            "claim",
            "challenge",
            "wrong challenger",
            "silent challenger",
            "self-dispute",
            "join",
            "copier",
            "demand leaves",
            "spec",
            "spec refused",
            "audit",
            "drawn lot",
            "show",
            "draw",
            "retarget",
            "vote",
            "lazy arbiter",
            "absent arbiter",
            "colluding arbiter",
            "reveal",
            "resolve",
            "redraw",
            "appeal of right",
            "appeal of wrong",
            "answer",
            "name a step",
            "settle",
            "pay a committee",
            "collect",
            "rest",
            "strike",
            "dispute without rules"
        ];
    }

    function reached(string memory what, uint256 number, uint256 times, uint256 least) private {
        reached(string.concat(what, vm.toString(number)), times, least);
    }

    function reached(string memory name, uint256 times, uint256 least) private {
        uint256 total = sum(name, times);
        vm.assertLe(least, total, name);
    }

    function sum(string memory name, uint256 more) private returns (uint256 total) {
        string memory key = string.concat("CAPANODE_CAMPAIGN_", name);
        total = vm.envOr(key, uint256(0)) + more;
        vm.setEnv(key, vm.toString(total));
    }
}
