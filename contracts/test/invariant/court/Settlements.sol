// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../../src/types/Case.sol";
import {Phase, Terms} from "../../../src/types/Deal.sol";
import {Appealing, Contender, Dealing, Dispute, Fault} from "./Books.sol";
import {Clock} from "./Clock.sol";

/// @notice The ends of cases and of deals, and who has how much then.
abstract contract Settlements is Clock {
    /// @dev What each had before a case or a deal ended.
    struct Before {
        uint256 provider;
        uint256 puppet;
        uint256 requester;
        uint256 burned;
        uint256[] challengers;
        uint256[] appellants;
    }

    /* OF A CASE */

    function _settle(uint256 c) internal {
        Dispute storage d = _disputes[c];
        Dealing storage deal = _deals[d.deal];
        Before memory b = _beforeCase(c);
        CasePhase phase = _phaseOf(c);
        bool awaited = _awaitsLot(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        Opening[] memory openings = _openings(c);
        vm.prank(STRANGER);
        court.settle(file, grounds, openings);
        _note(c);
        (, Verdict verdict,,,,) = court.caseOf(idOf(d));
        ++verdicts[verdict];
        _end(c);
        _did("settle");
        if (awaited) return;
        if (verdict == Verdict.MOOT) return _moot(c, b);
        vm.assertTrue(phase != CasePhase.ASKED || verdict != Verdict.LAPSED, "who withholds does not win");
        --deal.open;
        if (verdict == Verdict.UPHELD || verdict == Verdict.LAPSED) {
            if (file.kind == uint8(Kind.AUDIT)) deal.spent = true;
            vm.assertLe(b.provider, worth(file.deal.terms.provider), "who is upheld loses nothing");
            _losers(c, verdict, b);
        } else {
            if (!d.fair) deal.waived = true;
            _overruled(c, verdict, b);
        }
        if (phase == CasePhase.DECIDED && d.fair) {
            (Vote vote_,) = truth(d.deal, file.kind, d.position);
            vm.assertEq(uint256(verdict), uint256(verdictOf(vote_)), "an honest majority finds the truth");
        }
    }

    /// @dev Waits until the phase is over, unless it becomes another one by then.
    function _settleAfter(uint256 c, CasePhase phase) internal {
        _passTo(_timeOf(c) + 1);
        if (_isIn(c, phase) && block.timestamp > _timeOf(c)) _settle(c);
    }

    /// @dev Whether `settle` ends a case now, without waiting.
    function _isEndable(uint256 c) internal view returns (bool) {
        Dispute storage d = _disputes[c];
        (CasePhase phase,,,,, uint40 time) = court.caseOf(idOf(d));
        if (_awaitsLot(d)) return block.number > uint256(time) + HASHES_KEPT;
        if (_deals[d.deal].phase >= Phase.FINALIZED) return true;
        if (block.timestamp > _lastOf(d.deal)) return true;
        if (phase == CasePhase.OPEN) {
            return _shown(c) == 0 && block.number > uint256(time) + _clocks.revealBlocks;
        }
        bool timed = phase == CasePhase.DECIDED || phase == CasePhase.ASKED || phase == CasePhase.ANSWERED;
        return timed && block.timestamp > time;
    }

    function _openings(uint256 c) internal view returns (Opening[] memory openings) {
        (,,,, uint8 challengers,) = court.caseOf(idOf(_disputes[c]));
        openings = new Opening[](challengers);
        for (uint256 i = 0; i < challengers; ++i) {
            if (_contenders[c][i].shown) openings[i] = Opening(_contenders[c][i].answer, SALT);
        }
    }

    function _overruled(uint256 c, Verdict verdict, Before memory b) private {
        Dispute storage d = _disputes[c];
        Dealing storage deal = _deals[d.deal];
        Terms memory terms = deal.claim.terms;
        uint256 has = worth(terms.provider);
        vm.assertTrue(deal.fault != Fault.NONE || deal.waived, "who is honest is paid whole");
        if (verdict == Verdict.OVERTURNED) {
            _bondLost(terms, b);
            vm.assertLe(b.requester + terms.price, worth(terms.requester), "the requester has its price back");
            uint256 most = b.puppet + d.ownLocked + _clocks.gasAllowance + terms.fraudBond / 4;
            vm.assertLe(worth(puppet(terms.provider)), most, "who disputes itself gains gas and a quarter");
            if (d.fair) _winners(c, b);
            _close(d.deal, Phase.OVERTURNED);
        } else {
            bool split = verdict == Verdict.SPLIT;
            uint256 half = deal.claim.amount / 2;
            vm.assertEq(has, b.provider + half, "half is paid, and no bond is lost");
            uint256 least = split ? 0 : deal.claim.amount - half;
            vm.assertLe(least, market.totalBurned() - b.burned, "a void result costs its requester all of it");
            _close(d.deal, split ? Phase.SPLIT : Phase.VOID);
        }
    }

    /// @dev Whoever was right and said so has its bond back and the same share as others, and does not pay for being right.
    function _winners(uint256 c, Before memory b) private view {
        Dispute storage d = _disputes[c];
        uint256 share = type(uint256).max;
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            Contender storage who = _contenders[c][i];
            bool won = who.right && (who.shown || d.file.kind == uint8(Kind.WITHHELD));
            if (!won) continue;
            uint256 least = b.challengers[i] + _bondOf(c, i);
            vm.assertLe(least, worth(who.who), "who is right has its bond back");
            if (!_getsOneShare(c, who.who)) continue;
            uint256 gained = worth(who.who) - least;
            if (share == type(uint256).max) share = gained;
            vm.assertEq(gained, share, "who is right has what others have");
        }
    }

    /// @dev Whether nothing but one share of the bounty comes to somebody, besides its bond.
    function _getsOneShare(uint256 c, address who) private view returns (bool) {
        if (who == _disputes[c].file.deal.terms.requester || _appealsOf(c, who) != 0) return false;
        uint256 times = 0;
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            if (_contenders[c][i].who == who) ++times;
        }
        return times == 1;
    }

    /// @dev Whoever was not right has lost its bond, and an appeal unless the verdict it was against has changed.
    function _losers(uint256 c, Verdict verdict, Before memory b) private view {
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            address who = _contenders[c][i].who;
            vm.assertEq(
                worth(who), b.challengers[i] + _backTo(c, who, verdict), "who is not right loses its bond"
            );
        }
        for (uint256 i = 0; i < _appeals[c].length; ++i) {
            address who = _appeals[c][i].who;
            vm.assertEq(worth(who), b.appellants[i] + _backTo(c, who, verdict), "an appeal in vain is lost");
        }
    }

    function _appealsOf(uint256 c, address who) private view returns (uint256 times) {
        for (uint256 i = 0; i < _appeals[c].length; ++i) {
            if (_appeals[c][i].who == who) ++times;
        }
    }

    function _backTo(uint256 c, address who, Verdict verdict) private view returns (uint256 sum) {
        for (uint256 i = 0; i < _appeals[c].length; ++i) {
            Appealing storage made_ = _appeals[c][i];
            if (made_.who == who && made_.against != verdict) sum += made_.amount;
        }
    }

    function _moot(uint256 c, Before memory b) private view {
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            uint256 has = worth(_contenders[c][i].who);
            vm.assertLe(b.challengers[i] + _bondOf(c, i), has, "who was not judged has its bond back");
        }
    }

    function _bondOf(uint256 c, uint256 contender) private view returns (uint256) {
        return contender == 0 ? _disputes[c].file.bond : _bondFor(_disputes[c].deal);
    }

    function _beforeCase(uint256 c) private view returns (Before memory b) {
        b = _beforeDeal(_disputes[c].deal);
        b.challengers = new uint256[](_contenders[c].length);
        for (uint256 i = 0; i < b.challengers.length; ++i) {
            b.challengers[i] = worth(_contenders[c][i].who);
        }
        b.appellants = new uint256[](_appeals[c].length);
        for (uint256 i = 0; i < b.appellants.length; ++i) {
            b.appellants[i] = worth(_appeals[c][i].who);
        }
    }

    /* OF A DEAL */

    function _beforeDeal(uint256 deal) internal view returns (Before memory b) {
        Terms storage terms = _deals[deal].claim.terms;
        b.provider = worth(terms.provider);
        b.puppet = worth(puppet(terms.provider));
        b.requester = worth(terms.requester);
        b.burned = market.totalBurned();
    }

    /// @dev A result that is final is paid once, as committed.
    function _paid(uint256 deal, Before memory b) internal {
        Dealing storage d = _deals[deal];
        Terms storage terms = d.claim.terms;
        uint256 due = b.provider + d.claim.amount;
        vm.assertEq(worth(terms.provider), due, "a final result is paid as committed");
        uint256 back = terms.price - d.claim.amount + (d.spent ? 0 : terms.verification);
        vm.assertEq(worth(terms.requester), b.requester + back, "the rest goes back");
        _close(deal, Phase.FINALIZED);
    }

    function _bondLost(Terms memory terms, Before memory b) internal view {
        uint256 lost = b.provider - worth(terms.provider);
        vm.assertEq(lost, terms.fraudBond, "a fraud bond is lost once, and nothing else");
        uint256 burned = market.totalBurned() - b.burned;
        vm.assertLe(2 * lost, 5 * burned, "whoever takes part, two fifths of a lost bond burn");
    }

    /// @dev What the first challenger of a deal puts down.
    function _bondFor(uint256 deal) internal view returns (uint96) {
        return _deals[deal].claim.terms.verification + _clocks.gasAllowance;
    }
}
