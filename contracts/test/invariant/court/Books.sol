// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CasePhase, File, Grounds, Kind, Verdict} from "../../../src/types/Case.sol";
import {Claim, Mode, Phase, Terms} from "../../../src/types/Deal.sol";
import {People} from "./People.sol";

/// @notice What is really wrong with a committed result.
/// @dev WRONG: another leaf than execution gives. UNSTABLE: execution gives now this, now that. MISSING: its bytes cannot be
/// had. MALFORMED: a leaf says what none may. SILENT: nothing, but its provider does not show withheld leaves.
enum Fault {
    NONE,
    WRONG,
    UNSTABLE,
    MISSING,
    MALFORMED,
    SILENT
}

/// @notice What is known of a deal besides what the chain says of it: the truth, and what should be.
struct Dealing {
    Claim claim;
    Fault fault;
    /// @dev The leaf that is at fault.
    uint256 at;
    Phase phase;
    uint256 open;
    bool spent;
    /// @dev No longer judged by an honest majority in time, so nothing is promised.
    bool waived;
}

/// @notice A case, and what should come of it.
struct Dispute {
    uint256 deal;
    File file;
    bool ended;
    /// @dev Judged by an honest majority so far.
    bool fair;
    /// @dev The leaf in question, and in a forced reveal the node asked about, counted from 1 as in a heap.
    uint256 position;
    uint256 node;
    /// @dev Bonds and appeals that the court holds for it, and what of them is the provider's, by its other name.
    uint256 locked;
    uint256 ownLocked;
    uint8 paidRounds;
}

/// @notice One that has put down a bond.
struct Contender {
    address who;
    bytes32 hidden;
    bytes32 answer;
    /// @dev Intends to show its answer, and has done so.
    bool shows;
    bool shown;
    /// @dev Its answer is what an honest execution gives.
    bool right;
}

/// @notice An appeal, and what it paid for another committee.
struct Appealing {
    address who;
    uint256 amount;
    Verdict against;
}

/// @notice Remembers deals and cases, counts what has happened, and says what should be.
abstract contract Books is People {
    uint256 private constant UNIT = 1 << 32;

    Dealing[] internal _deals;
    mapping(uint256 deal => Grounds) internal _grounds;
    Dispute[] internal _disputes;
    mapping(uint256 dispute => Contender[]) internal _contenders;
    mapping(uint256 dispute => Appealing[]) internal _appeals;
    uint256[] internal _openCases;

    /// @dev How often each has been seen.
    mapping(CasePhase => uint256) public phases;
    mapping(Verdict => uint256) public verdicts;
    mapping(Kind => uint256) public kinds;
    mapping(Phase => uint256) public ends;
    mapping(Fault => uint256) public faults;
    mapping(bytes32 what => uint256) private _seen;
    /// @dev Moves that took effect.
    uint256 public made;

    /* WHAT HAS HAPPENED */

    /// @notice How often a move took effect, or a strategy was played.
    function seen(string calldata what) external view returns (uint256) {
        return _seen[keccak256(bytes(what))];
    }

    function _did(string memory move) internal {
        ++made;
        _see(move);
    }

    function _see(string memory what) internal {
        ++_seen[keccak256(bytes(what))];
    }

    /* WHAT SHOULD BE */

    /// @notice What requesters have in deals that have not ended.
    function escrowed() external view returns (uint256 sum) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            Dealing storage d = _deals[i];
            if (d.phase >= Phase.FINALIZED) continue;
            sum += d.claim.terms.price + (d.spent ? 0 : uint256(d.claim.terms.verification));
        }
    }

    /// @notice What a provider has locked in deals that have not ended.
    function bondsOf(address who) external view returns (uint256 sum) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            Terms storage terms = _deals[i].claim.terms;
            if (_deals[i].phase < Phase.FINALIZED && terms.provider == who) sum += _bondsIn(terms);
        }
    }

    /// @notice What of it its hot key has locked, rounded up per deal.
    function loadOf(address who) external view returns (uint256 sum) {
        address key = hotKeyOf(who);
        for (uint256 i = 0; i < _deals.length; ++i) {
            Claim storage claim = _deals[i].claim;
            if (_deals[i].phase >= Phase.FINALIZED || claim.lockedBy != key) continue;
            sum += (_bondsIn(claim.terms) + UNIT - 1) / UNIT * UNIT;
        }
    }

    /// @notice Bonds and prepaid appeals of the cases that have not ended.
    function lockedInCases() external view returns (uint256 sum) {
        for (uint256 i = 0; i < _openCases.length; ++i) {
            sum += _disputes[_openCases[i]].locked;
        }
    }

    /// @notice What all arbiters have in the court.
    function arbitersHold() external view returns (uint256 sum) {
        for (uint256 i = 0; i < ARBITERS; ++i) {
            (uint96 stake, uint96 fees,,) = pools.arbiterOf(pool, arbiter(i));
            (, uint96 namedFees,,) = pools.arbiterOf(named, arbiter(i));
            sum += uint256(stake) + fees + namedFees;
        }
    }

    function dealCount() external view returns (uint256) {
        return _deals.length;
    }

    /// @notice A deal's id, the phase that it should be in, and its open cases.
    function dealAt(uint256 i) external view returns (bytes32 id, Phase phase, uint256 open) {
        return (_deals[i].claim.dealId, _deals[i].phase, _deals[i].open);
    }

    function openCases() external view returns (uint256) {
        return _openCases.length;
    }

    /// @dev A DIRECT deal begins with its commitment and cannot be late.
    function _bondsIn(Terms memory terms) internal pure returns (uint256) {
        return terms.fraudBond + (terms.mode == uint8(Mode.DIRECT) ? 0 : terms.price / 10);
    }

    /* DEALS */

    function _close(uint256 deal, Phase end) internal {
        _deals[deal].phase = end;
        ++ends[end];
    }

    function _pick(uint256 which, Phase phase) internal view returns (bool found, uint256 i) {
        for (uint256 j = 0; j < _deals.length; ++j) {
            i = addmod(which, j, _deals.length);
            if (_deals[i].phase == phase) return (true, i);
        }
    }

    function _openDeals() internal view returns (uint256 n) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            if (_deals[i].phase < Phase.FINALIZED) ++n;
        }
    }

    /// @dev The last second of what a deal's phase allows: to take, to commit, to challenge.
    function _deadlineOf(uint256 deal) internal view returns (uint256 time) {
        (,, time,) = market.slot(_deals[deal].claim.dealId);
    }

    function _isLate(uint256 deal) internal view returns (bool) {
        return block.timestamp > _deadlineOf(deal);
    }
}
