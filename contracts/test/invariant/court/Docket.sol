// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Files} from "../../../src/libraries/Files.sol";
import {CasePhase, CourtClocks, File, Kind} from "../../../src/types/Case.sol";
import {Phase} from "../../../src/types/Deal.sol";
import {Contender, Dispute, Fault} from "./Books.sol";
import {Truth} from "./Truth.sol";

/// @notice The cases: begun, found by where they stand, ended.
abstract contract Docket is Truth {
    uint256 internal constant HASHES_KEPT = 256;
    bytes32 internal constant SALT = keccak256("salt");
    uint256 private constant MOST_CASES = 8;

    CourtClocks internal _clocks;

    constructor() {
        _clocks = pools.courtClocks();
    }

    /* BEGIN AND END */

    function _record(uint256 deal, File memory file, Contender memory who, uint256 locked, uint256 position)
        internal
    {
        uint256 c = _disputes.length;
        Dispute storage d = _disputes.push();
        d.deal = deal;
        d.file = file;
        d.fair = true;
        d.position = position;
        d.node = 1;
        _lock(c, who.who, locked);
        if (who.who != address(0)) _contenders[c].push(who);
        _openCases.push(c);
        ++kinds[Kind(file.kind)];
        _note(c);
    }

    /// @dev Notes what somebody has put down in a case.
    function _lock(uint256 c, address who, uint256 amount) internal {
        Dispute storage d = _disputes[c];
        d.locked += amount;
        if (who == puppet(_deals[d.deal].claim.terms.provider)) d.ownLocked += amount;
    }

    function _end(uint256 c) internal {
        _disputes[c].ended = true;
        _disputes[c].locked = 0;
        for (uint256 i = 0; i < _openCases.length; ++i) {
            if (_openCases[i] != c) continue;
            _openCases[i] = _openCases[_openCases.length - 1];
            _openCases.pop();
            return;
        }
    }

    function _note(uint256 c) internal {
        ++phases[_phaseOf(c)];
    }

    /// @dev Nobody does its duty in what is open now, but what is decided already.
    function _waive() internal {
        for (uint256 i = 0; i < _openCases.length; ++i) {
            if (_phaseOf(_openCases[i]) == CasePhase.DECIDED) continue;
            _disputes[_openCases[i]].fair = false;
            _deals[_disputes[_openCases[i]].deal].waived = true;
        }
    }

    /* FOUND */

    /// @dev A committed deal inside its window, rather one with this fault, while more cases are taken.
    function _disputable(uint256 which, Fault fault) internal view returns (bool found, uint256 deal) {
        if (_openCases.length >= MOST_CASES) return (false, 0);
        for (uint256 j = 0; j < _deals.length; ++j) {
            uint256 i = addmod(which, j, _deals.length);
            if (_deals[i].phase != Phase.COMMITTED || !isRuled(i) || _isLate(i)) continue;
            (found, deal) = (true, i);
            if (_deals[i].fault == fault) break;
        }
    }

    function _find(uint256 which, CasePhase phase) internal view returns (bool found, uint256 c) {
        for (uint256 j = 0; j < _openCases.length; ++j) {
            c = _openCases[addmod(which, j, _openCases.length)];
            if (_phaseOf(c) == phase) return (true, c);
        }
    }

    /* WHERE A CASE STANDS */

    function idOf(Dispute storage d) internal view returns (bytes32) {
        return Files.caseId(d.file.deal.dealId, d.file.kind, d.file.step, d.file.serial);
    }

    function poolOf(Dispute storage d) internal view returns (bytes32) {
        return _grounds[d.deal].rules.pool;
    }

    function _phaseOf(uint256 c) internal view returns (CasePhase phase) {
        (phase,,,,,) = court.caseOf(idOf(_disputes[c]));
    }

    function _isIn(uint256 c, CasePhase phase) internal view returns (bool) {
        return !_disputes[c].ended && _phaseOf(c) == phase;
    }

    function _timeOf(uint256 c) internal view returns (uint256 time) {
        (,,,,, time) = court.caseOf(idOf(_disputes[c]));
    }

    function _roundOf(uint256 c) internal view returns (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) {
        id = idOf(_disputes[c]);
        pool_ = poolOf(_disputes[c]);
        (,, round, seats,,) = court.caseOf(id);
    }

    function _shown(uint256 c) internal view returns (uint256 n) {
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            if (_contenders[c][i].shown) ++n;
        }
    }

    /// @dev Whether an audit waits for its lot: then no deal knows of it yet.
    function _awaitsLot(Dispute storage d) internal view returns (bool) {
        return d.file.kind == uint8(Kind.AUDIT) && d.position == 0;
    }

    /// @dev When a dispute has lasted too long.
    function _lastOf(uint256 deal) internal view returns (uint256) {
        return _deadlineOf(deal) + _clocks.maxDispute;
    }

    /// @dev The leaf in question as committed, and its proof; nothing in a case about data.
    function _claimed(Dispute storage d) internal view returns (bytes32 leaf, bytes32[] memory proof) {
        if (d.file.kind == uint8(Kind.DATA)) return (0, proof);
        leaf = leafAt(d.deal, d.position);
        proof = proofIn(tree(d.deal), d.position);
    }

    /// @dev The hash of a case's seed block, which a test's chain does not have by itself.
    function _revive(bytes32 id) internal {
        (,,,,, uint40 seedBlock) = court.caseOf(id);
        if (block.number <= seedBlock || block.number > seedBlock + HASHES_KEPT) return;
        vm.setBlockhash(seedBlock, keccak256(abi.encode("block", seedBlock)));
    }

    function _refused(address target, bytes memory call) internal {
        (bool done,) = target.call(call);
        vm.assertTrue(!done, "what nobody may do is refused");
    }
}
