// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../../src/interfaces/IDisputeCourt.sol";
import {CasePhase} from "../../../src/types/Case.sol";
import {Market} from "../../base/Market.sol";
import {Arbiters} from "./Arbiters.sol";
import {Challengers} from "./Challengers.sol";
import {People} from "./People.sol";
import {Providers} from "./Providers.sol";
import {Requesters} from "./Requesters.sol";
import {Strangers} from "./Strangers.sol";

/// @notice Plays every party of deals and disputes, each by any of its strategies, with legal moves only, so that any revert
/// is a finding; and tries what must not be possible.
/// @dev Whose turn it is does one of its moves: the one that is drawn, or else the next that is legal now.
contract CourtHandler is Requesters, Providers, Challengers, Arbiters, Strangers {
    /// @dev Turns in which there was nothing to do.
    uint256 public idle;

    constructor(Market market_, IDisputeCourt court_) People(market_, court_) {}

    /* TURNS */

    function traderActs(uint256 which, uint256 seed) external {
        _act(_traderMove, REQUESTER_MOVES + PROVIDER_MOVES, which, seed);
    }

    function challengerActs(uint256 which, uint256 seed) external {
        _act(_challengerMove, CHALLENGER_MOVES, which, seed);
    }

    function arbiterActs(uint256 which, uint256 seed) external {
        _act(_arbiterMove, ARBITER_MOVES, which, seed);
    }

    function strangerActs(uint256 which, uint256 seed) external {
        _act(_strangerMove, STRANGER_MOVES, which, seed);
    }

    function timePasses(uint256 which, uint256 seed) external {
        _act(_clockMove, CLOCK_MOVES, which, seed);
    }

    /// @notice A stranger ends everything, while arbiters strike.
    function endAll() external {
        _strike(true);
        _endAll();
    }

    function _traderMove(uint256 n, uint256 which, uint256 seed) private {
        if (n < REQUESTER_MOVES) _requesterMove(n, which, seed);
        else _providerMove(n - REQUESTER_MOVES, which, seed);
    }

    /// @dev What forge draws is often small or alike; what is made of it is not.
    function _act(
        function(uint256, uint256, uint256) internal move,
        uint256 moves,
        uint256 which,
        uint256 seed
    ) private {
        which = uint256(keccak256(abi.encode(which, seed)));
        seed = uint256(keccak256(abi.encode(which)));
        uint256 before = made;
        uint256 first = which % moves;
        for (uint256 i = 0; i < moves && made == before; ++i) {
            move((first + i) % moves, which >> 128, seed);
        }
        if (made == before) ++idle;
    }

    /* DUTIES */

    function _serve(uint256 c, uint256 time, uint256 number) internal override {
        (CasePhase phase,,,,, uint40 clock) = court.caseOf(idOf(_disputes[c]));
        if (phase == CasePhase.OPEN) {
            uint256 last = uint256(clock) + _clocks.revealBlocks;
            if (block.number > clock && block.number <= last && number > last) _showAll(c);
        } else if (phase == CasePhase.VOTING && block.timestamp <= clock) {
            if (time > clock) _castAll(c, type(uint256).max);
        } else if (phase == CasePhase.VOTING || phase == CasePhase.REVEALING) {
            uint256 over = clock + (phase == CasePhase.VOTING ? _clocks.revealTime : 0);
            if (block.timestamp <= over && time > over) _revealAll(c, type(uint256).max);
        } else if (phase == CasePhase.ASKED && block.timestamp <= clock && time > clock) {
            _answer(c);
        } else if (phase == CasePhase.ANSWERED && block.timestamp <= clock && time > clock) {
            if (_contenders[c][0].right) _goOn(c);
        }
    }
}
