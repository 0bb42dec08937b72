// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../../src/interfaces/IDisputeCourt.sol";
import {Files} from "../../../src/libraries/Files.sol";
import {CasePhase, File, Grounds, Kind} from "../../../src/types/Case.sol";
import {Claim, Phase, Terms} from "../../../src/types/Deal.sol";
import {Contender, Dealing, Dispute, Fault} from "./Books.sol";
import {Wages} from "./Wages.sol";

/// @notice What anybody may do to end what is over, and what nobody may do.
abstract contract Strangers is Wages {
    uint256 internal constant STRANGER_MOVES = 7;

    function _strangerMove(uint256 n, uint256 which, uint256 seed) internal {
        if (n == 0) _clear(which);
        else if (n == 1) _claim(which);
        else if (n == 2) _beginAudit(which);
        else if (n == 3) _settleTurn(which);
        else if (n == 4) _sweep(which);
        else if (n == 5) _payCommittee(which);
        else _steal(which, seed);
    }

    /* DEALS */

    /// @dev What nobody took, or nobody delivered, in time.
    function _clear(uint256 which) private {
        Phase phase = which & 1 == 0 ? Phase.ANNOUNCED : Phase.ASSIGNED;
        (bool found, uint256 deal) = _pick(which >> 1, phase);
        if (!found) return;
        if (which >> 1 & 7 == 0) _passTo(_deadlineOf(deal) + 1);
        if (_isLate(deal)) _expire(deal);
    }

    function _expire(uint256 deal) private {
        Claim memory claim_ = _deals[deal].claim;
        uint256 burned = market.totalBurned();
        if (_deals[deal].phase == Phase.ANNOUNCED) {
            vm.prank(STRANGER);
            market.cancel(claim_.terms);
            _close(deal, Phase.CANCELLED);
            _did("lapse");
        } else {
            uint256 had = free(STRANGER);
            vm.prank(STRANGER);
            market.expire(claim_.dealId, claim_.terms, claim_.lockedBy);
            uint256 lost = market.totalBurned() - burned + free(STRANGER) - had;
            vm.assertEq(lost, claim_.terms.price / 10, "who is late loses a tenth of the price");
            _close(deal, Phase.REFUNDED);
            _did("expire");
        }
    }

    function _claim(uint256 which) private {
        (bool found, uint256 deal) = _pick(which, Phase.COMMITTED);
        if (!found) return;
        if (which % 8 == 0) _passTo(_deadlineOf(deal) + 1);
        if (_deals[deal].open == 0 && _isLate(deal)) _claimNow(deal);
    }

    function _claimNow(uint256 deal) private {
        Claim memory claim_ = _deals[deal].claim;
        Before memory b = _beforeDeal(deal);
        market.claim(claim_);
        _paid(deal, b);
        _did("claim");
    }

    /* CASES */

    function _beginAudit(uint256 which) private {
        (bool found, uint256 deal) = _disputable(which, Fault(which % 6));
        if (!found) return;
        Claim memory claim_ = _deals[deal].claim;
        bytes32 id = Files.caseId(claim_.dealId, uint256(Kind.AUDIT), 0, 0);
        (CasePhase phase,,,,,) = court.caseOf(id);
        if (phase != CasePhase.NONE) return;
        Grounds memory grounds = _grounds[deal];
        vm.prank(_sealedOr(deal, STRANGER));
        court.beginAudit(claim_, grounds.demand, grounds.rules);
        Contender memory nobody;
        _record(deal, File(claim_, uint8(Kind.AUDIT), 0, 0, address(0), 0, 0), nobody, 0, 0);
        _did("audit");
    }

    function _settleTurn(uint256 which) private {
        (bool found, uint256 c) = _find(which, CasePhase.DECIDED);
        if (!found) return;
        bool contested = !_disputes[c].fair && block.timestamp <= _timeOf(c) && which % 8 != 0;
        if (!contested) _settleAfter(c, CasePhase.DECIDED); // else whoever is wronged may appeal
    }

    /// @dev Any case that can be ended now: lapsed ones, and those of deals that have ended.
    function _sweep(uint256 which) private {
        for (uint256 i = 0; i < _openCases.length; ++i) {
            uint256 c = _openCases[addmod(which, i, _openCases.length)];
            if (_isEndable(c)) return _settle(c);
        }
    }

    /* WHAT MUST NOT BE POSSIBLE */

    /// @dev Tries to be paid twice, too early, or for somebody else, and to dispute what has no rules.
    function _steal(uint256 which, uint256 seed) private {
        if (_deals.length == 0) return;
        uint256 deal = which % _deals.length;
        Dealing storage d = _deals[deal];
        Claim memory claim_ = d.claim;
        bool due = d.phase == Phase.COMMITTED && d.open == 0 && _isLate(deal);
        if (!due) _refused(address(market), abi.encodeCall(market.claim, (claim_)));
        if (d.phase >= Phase.FINALIZED) {
            vm.prank(claim_.terms.requester);
            _refused(address(market), abi.encodeCall(market.accept, (claim_, "")));
            bytes memory expire =
                abi.encodeCall(market.expire, (claim_.dealId, claim_.terms, claim_.lockedBy));
            _refused(address(market), expire);
        }
        if (!isRuled(deal)) _disputesWithoutRules(deal);
        _refused(address(market), abi.encodeCall(market.overrule, (claim_, Phase.OVERTURNED)));
        _refused(address(market), abi.encodeCall(market.pay, (1, STRANGER)));
        if (_disputes.length != 0) _robs(seed % _disputes.length);
        _did("steal");
    }

    function _disputesWithoutRules(uint256 deal) private {
        Grounds memory g = _grounds[deal];
        Claim memory claim_ = _deals[deal].claim;
        address who = challenger(deal);
        _afford(who, _bondFor(deal));
        vm.prank(who);
        _refused(
            address(court),
            abi.encodeCall(IDisputeCourt.challenge, (claim_, g.demand, g.rules, Kind.STEP, 0, 0, SALT))
        );
        _see("dispute without rules");
    }

    function _robs(uint256 c) private {
        Dispute storage d = _disputes[c];
        bytes32 id = idOf(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        if (d.ended) {
            _refused(address(court), abi.encodeCall(IDisputeCourt.settle, (file, grounds, _openings(c))));
        } else {
            if (!_isEndable(c)) {
                _refused(address(court), abi.encodeCall(IDisputeCourt.settle, (file, grounds, _openings(c))));
            }
            (,, uint8 round,) = _roundOf(c);
            uint256 before = free(address(court));
            _refused(address(court), abi.encodeCall(IDisputeCourt.payCommittee, (poolOf(d), id, round)));
            vm.assertEq(before, free(address(court)));
        }
        bytes memory cast = abi.encodeCall(IDisputeCourt.castVote, (poolOf(d), id, 0, SALT));
        vm.prank(STRANGER);
        _refused(address(court), cast);
    }

    /* THE END */

    /// @dev What a stranger does to end all that is open: it waits once, then calls.
    function _endAll() internal {
        _waive();
        vm.warp(block.timestamp + uint256(_clocks.maxDispute) + 1_200 + 1 hours);
        vm.roll(block.number + HASHES_KEPT + 44);
        while (_openCases.length != 0) _settle(_openCases[0]);
        for (uint256 c = 0; c < _disputes.length; ++c) {
            while (_isOwing(c)) _payRound(c);
        }
        for (uint256 deal = 0; deal < _deals.length; ++deal) {
            if (_deals[deal].phase < Phase.COMMITTED) _expire(deal);
            else if (_deals[deal].phase == Phase.COMMITTED) _claimNow(deal);
        }
    }
}
