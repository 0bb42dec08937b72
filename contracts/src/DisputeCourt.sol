// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cases} from "./Cases.sol";
import {ForcedReveals} from "./ForcedReveals.sol";
import {IDealMarket} from "./interfaces/IDealMarket.sol";
import {IDisputeCourt} from "./interfaces/IDisputeCourt.sol";
import {Files} from "./libraries/Files.sol";
import {Judgement} from "./libraries/Judgement.sol";
import {Trace} from "./libraries/Trace.sol";
import {CasePhase, CourtClocks, File, Grounds, Kind, LeafProof, Opening, Verdict} from "./types/Case.sol";
import {CaseSlot, Count} from "./types/CaseSlot.sol";
import {Claim, Phase, Terms} from "./types/Deal.sol";
import {Class} from "./types/Rules.sol";

/// @title DisputeCourt
/// @notice Judges disputed results: challengers say what is wrong, drawn arbiters look, the loser pays.
/// @dev No owner, no proxy, no pause. It calls its market and nobody else, and pays by credits only.
contract DisputeCourt is ForcedReveals {
    /// @dev What is left to share when a case is closed.
    struct Purse {
        uint256 bonds;
        uint256 lostAppeals;
        uint256 fees;
        uint256 fee;
        uint256 bounty;
        uint256 burned;
    }

    constructor(IDealMarket market_, CourtClocks memory clocks) Cases(market_, clocks) {}

    /// @inheritdoc IDisputeCourt
    function challengeSpec(Claim calldata deal, Grounds calldata grounds, LeafProof calldata leaf) external {
        Files.requireGrounds(deal, grounds);
        _requireChallengeable(deal, grounds.demand, grounds.rules, msg.sender);
        uint256 position = leaf.position;
        // The first and the last leaf were looked at when they were committed.
        if (position == 0 || position >= grounds.result.stepCount) revert NoSuchStep(position);
        uint256 due = uint32(grounds.demand.steps >> 32) + position;
        if (leaf.step == due && leaf.exit == 0 && leaf.done == 0) revert NoViolation();
        bytes32 hash =
            Trace.leaf(deal.dealId, leaf.step, leaf.stateRoot, leaf.exit, leaf.stdoutRoot, leaf.done);
        Files.requireLeaf(grounds.result, position, hash, leaf.proof);

        // slither-disable-next-line unused-return
        market.openChallenge(deal, 0, address(0));
        uint256 bond = market.overrule(deal, Phase.OVERTURNED);
        uint256 left = Judgement.spendable(bond);
        (uint256 gas, uint256 bounty) = Judgement.rewards(bond, deal.terms.price, _gasAllowance, left);
        if (msg.sender == deal.terms.requester) bounty = 0;
        bytes32 caseId = Files.caseId(deal.dealId, uint256(Kind.SPEC), position, 0);
        uint256 burned = bond - gas - bounty;
        emit Settled(caseId, deal.dealId, uint8(Verdict.OVERTURNED), 0, uint96(bounty), uint96(burned));
        _pay(msg.sender, gas + bounty);
        _burn(burned);
    }

    /// @inheritdoc IDisputeCourt
    // slither-disable-next-line reentrancy-no-eth
    function settle(File calldata file, Grounds calldata grounds, Opening[] calldata openings) external {
        (bytes32 caseId, CaseSlot s) = _caseOf(file);
        Files.requireGrounds(file.deal, grounds);
        if (_awaitsLot(file, s)) {
            uint256 gone = s.time() + HASHES_KEPT;
            if (block.number <= gone) revert ClockRunning(gone);
            _closeAs(caseId, file.deal.dealId, s, Verdict.LAPSED, 0);
            return;
        }
        Verdict verdict = _verdictNow(caseId, s, file);
        // Memory begins as zeros.
        // slither-disable-next-line uninitialized-local
        Purse memory purse;
        purse.bonds = file.bond
            + (s.count(Count.CHALLENGERS) > 1 ? (s.count(Count.CHALLENGERS) - 1) * _bond(file.deal.terms) : 0);
        purse.lostAppeals = _returnAppeals(caseId, s, verdict);
        if (verdict == Verdict.OVERTURNED) {
            _overturn(caseId, s, file, grounds.rules.arbiterFee, openings, purse);
        } else if (verdict == Verdict.UPHELD || verdict == Verdict.LAPSED) {
            _uphold(caseId, s, file, grounds.rules.arbiterFee, verdict, purse);
        } else {
            _letGo(caseId, s, file, grounds.rules.arbiterFee, verdict, purse);
        }
        _cases[caseId].slot = s.closed(verdict, uint96(purse.fee));
        emit Settled(
            caseId,
            file.deal.dealId,
            uint8(verdict),
            uint96(purse.fee),
            uint96(purse.bounty),
            uint96(purse.burned)
        );
        _burn(purse.burned);
    }

    /* VERDICTS */

    /// @dev What a case comes to if it ends now.
    function _verdictNow(bytes32 caseId, CaseSlot s, File calldata file) private returns (Verdict) {
        // slither-disable-next-line unused-return
        (Phase phase,, uint40 windowEnd,) = market.slot(file.deal.dealId);
        if (phase != Phase.CHALLENGED) {
            delete _findings[caseId];
            return Verdict.MOOT;
        }
        uint256 over = s.time();
        CasePhase at = s.phase();
        if (at == CasePhase.OPEN) over += _revealBlocks;
        bool late = (at == CasePhase.OPEN ? block.number : block.timestamp) > over;
        if (at == CasePhase.DECIDED && late) return s.verdict();
        if (at == CasePhase.ASKED && late) return Verdict.OVERTURNED;
        if (at == CasePhase.ANSWERED && late) return Verdict.LAPSED;
        if (at == CasePhase.OPEN && late && s.count(Count.SHOWN) == 0) return Verdict.LAPSED;
        uint256 last = uint256(windowEnd) + _maxDispute;
        if (block.timestamp <= last) revert ClockRunning(late ? last : over);
        delete _findings[caseId];
        return Verdict.SPLIT;
    }

    /// @dev The bonds are lost: they pay arbiters and the provider's moves.
    function _uphold(
        bytes32 caseId,
        CaseSlot s,
        File calldata file,
        uint256 agreed,
        Verdict verdict,
        Purse memory purse
    ) private {
        bool audit = file.kind == uint8(Kind.AUDIT);
        market.closeChallenge(file.deal, audit);
        uint256 pot = purse.lostAppeals + (audit ? file.deal.terms.verification : purse.bonds);
        _setFees(purse, agreed, pot, s.total());
        uint256 left = pot - purse.fees;
        if (_descents[caseId].answers != 0) {
            uint256 gas = left < _gasAllowance ? left : _gasAllowance;
            left -= gas;
            _pay(file.deal.terms.provider, gas);
        }
        purse.burned = left;
        if (verdict == Verdict.LAPSED) delete _findings[caseId];
    }

    /// @dev The fraud bond is lost: it pays arbiters, the winners' gas, their bounty, and two fifths are burned.
    function _overturn(
        bytes32 caseId,
        CaseSlot s,
        File calldata file,
        uint256 agreed,
        Opening[] calldata openings,
        Purse memory purse
    ) private {
        uint256 bond = market.overrule(file.deal, Phase.OVERTURNED);
        uint256 pot = Judgement.spendable(bond) + purse.lostAppeals;
        _setFees(purse, agreed, pot, s.total());
        Terms calldata terms = file.deal.terms;
        (uint256 gas, uint256 bounty) = Judgement.rewards(bond, terms.price, _gasAllowance, pot - purse.fees);
        (address[] memory winners, uint256 count) = _winners(caseId, s, file, openings);
        uint256 paid = 0;
        for (uint256 i = 0; i < winners.length; ++i) {
            if (winners[i] == address(0)) continue;
            uint256 due = (i == 0 ? file.bond : _bond(terms)) + gas / count;
            if (winners[i] != terms.requester) {
                due += bounty / count;
                purse.bounty += bounty / count;
            }
            paid += due;
            _pay(winners[i], due);
        }
        purse.burned = bond + purse.bonds + purse.lostAppeals - purse.fees - paid;
    }

    /// @dev Nobody has lost: bonds go back, less a fee where nothing was judged in time.
    function _letGo(
        bytes32 caseId,
        CaseSlot s,
        File calldata file,
        uint256 agreed,
        Verdict verdict,
        Purse memory purse
    ) private {
        uint256 deposit = 0;
        uint256 pot = purse.lostAppeals;
        if (verdict != Verdict.MOOT) {
            deposit = market.overrule(file.deal, verdict == Verdict.VOID ? Phase.VOID : Phase.SPLIT);
            pot += deposit;
            _setFees(purse, agreed, pot, s.total());
        }
        uint256 kept = verdict == Verdict.SPLIT ? agreed : 0;
        for (uint256 i = 0; i < s.count(Count.CHALLENGERS); ++i) {
            uint256 bond = i == 0 ? file.bond : _bond(file.deal.terms);
            uint256 lost = kept < bond ? kept : bond;
            purse.burned += lost;
            _pay(i == 0 ? file.opener : _challengers[caseId][i].who, bond - lost);
        }
        uint256 left = pot - purse.fees;
        uint256 returned = left < deposit ? left : deposit;
        purse.burned += left - returned;
        _pay(file.deal.terms.requester, returned);
    }

    /* PARTS */

    /// @dev Appeals that changed the verdict come back; returns the sum of the others.
    function _returnAppeals(bytes32 caseId, CaseSlot s, Verdict verdict) private returns (uint256 lost) {
        for (uint256 i = 0; i < s.count(Count.APPEALS); ++i) {
            Appeal storage made = _appeals[caseId][i];
            if (made.against == verdict) lost += made.amount;
            else _pay(made.appellant, made.amount);
        }
    }

    /// @dev By index, who was right; zero in the place of one who was not.
    function _winners(bytes32 caseId, CaseSlot s, File calldata file, Opening[] calldata openings)
        private
        view
        returns (address[] memory winners, uint256 count)
    {
        uint256 challengers = s.count(Count.CHALLENGERS);
        winners = new address[](challengers);
        if (file.kind == uint8(Kind.WITHHELD)) {
            winners[0] = file.opener;
            return (winners, 1);
        }
        if (openings.length != challengers) revert BadOpening();
        bytes32 leaf = Judgement.leafOf(_findings[caseId]);
        for (uint256 i = 0; i < challengers; ++i) {
            bool shown = challengers == 1 ? s.count(Count.SHOWN) == 1 : _challengers[caseId][i].shown;
            if (!shown) continue;
            address who = i == 0 ? file.opener : _challengers[caseId][i].who;
            _requireShown(caseId, file, i, who, openings[i]);
            if (leaf != 0 && Judgement.leafOf(uint256(openings[i].answer)) != leaf) continue;
            winners[i] = who;
            ++count;
        }
    }

    function _requireShown(
        bytes32 caseId,
        File calldata file,
        uint256 index,
        address who,
        Opening calldata opening
    ) private view {
        bool same = index == 0
            ? Files.hiddenAnswer(caseId, opening, who) == file.answer
            : keccak256(abi.encode(opening.answer, opening.salt)) == _challengers[caseId][index].answer;
        if (!same) revert BadOpening();
    }

    function _setFees(Purse memory purse, uint256 agreed, uint256 pot, uint256 seats) private pure {
        purse.fee = Judgement.fee(agreed, pot, seats);
        purse.fees = purse.fee * seats;
    }

    function _pay(address to, uint256 amount) private {
        if (amount != 0) market.pay(uint96(amount), to);
    }

    function _burn(uint256 amount) private {
        if (amount != 0) market.pay(uint96(amount), address(0));
    }
}
