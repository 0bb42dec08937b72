// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Files} from "../../../src/libraries/Files.sol";
import {CasePhase, File, Grounds, Verdict} from "../../../src/types/Case.sol";
import {Phase} from "../../../src/types/Deal.sol";
import {Dispute} from "./Books.sol";
import {Settlements} from "./Settlements.sol";

/// @notice Committees and lots are drawn by the hash of a block, or by that of a later one.
abstract contract Draws is Settlements {
    function _drawFrom(uint256 c, CasePhase phase) internal {
        uint256 seedBlock = _timeOf(c);
        _mineTo(seedBlock + 1 + (phase == CasePhase.OPEN ? _clocks.revealBlocks : 0));
        if (!_isIn(c, phase)) return;
        if (block.number > seedBlock + HASHES_KEPT) _retarget(c);
        else _draw(c);
        _note(c);
    }

    /// @dev One who must wait for a sealed deal's requester is the requester itself.
    function _sealedOr(uint256 deal, address other) internal view returns (address) {
        return _grounds[deal].rules.sealed_ ? _deals[deal].claim.terms.requester : other;
    }

    function _draw(uint256 c) private {
        Dispute storage d = _disputes[c];
        bool lot = _awaitsLot(d);
        _revive(idOf(d));
        if (lot && !_drawsLot(c)) return;
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        court.draw(file, grounds, leaf, proof);
        _did("draw");
        if (!lot) return;
        if (d.position == 0) {
            ++verdicts[Verdict.LAPSED];
            _end(c);
        } else {
            ++_deals[d.deal].open;
            _see("drawn lot");
        }
    }

    /// @dev Whether the lot can be drawn: it falls on no step, or on one of a deal whose window is still open.
    function _drawsLot(uint256 c) private returns (bool) {
        Dispute storage d = _disputes[c];
        bytes32 hash = blockhash(_timeOf(c));
        uint256 lot = uint256(keccak256(abi.encode(Files.LOT, idOf(d), hash)));
        if (lot % 1_000_000 >= _grounds[d.deal].rules.auditPpm) return true;
        if (_deals[d.deal].phase != Phase.COMMITTED || _isLate(d.deal)) return false;
        d.position = 1 + (lot / 1_000_000) % stepsOf(d.deal);
        return true;
    }

    function _retarget(uint256 c) private {
        Dispute storage d = _disputes[c];
        if (_awaitsLot(d)) return _settle(c);
        File memory file = d.file;
        vm.prank(STRANGER);
        court.retarget(file);
        _did("retarget");
    }
}
