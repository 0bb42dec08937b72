// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../../src/interfaces/IDisputeCourt.sol";
import {Files} from "../../../src/libraries/Files.sol";
import {Trace} from "../../../src/libraries/Trace.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../../src/types/Case.sol";
import {Claim, Phase} from "../../../src/types/Deal.sol";
import {Appealing, Contender, Dealing, Dispute, Fault} from "./Books.sol";
import {Descents} from "./Descents.sol";
import {Draws} from "./Draws.sol";

/// @notice Who says that a result is wrong: rightly, wrongly, without showing an answer, by another's answer; the provider
/// itself, the requester, an arbiter.
abstract contract Challengers is Draws, Descents {
    uint256 internal constant CHALLENGER_MOVES = 8;

    function _challengerMove(uint256 n, uint256 which, uint256 seed) internal {
        if (n < 2) _challenge(which, seed);
        else if (n == 2) _join(which, seed);
        else if (n == 3) _demandLeaves(which, seed);
        else if (n == 4) _challengeSpec(which, seed);
        else if (n == 5) _showTurn(which, seed);
        else if (n == 6) _descendTurn(which, seed);
        else _appeal(which, seed);
    }

    /* CASES BEGIN */

    /// @dev Inside the window nothing stops a challenge, by anybody who brings the bond.
    function _challenge(uint256 which, uint256 seed) private {
        (bool found, uint256 deal) = _disputable(which, Fault(which % 6));
        if (!found) return;
        Contender memory who = _contender(deal, seed);
        Kind kind = _kindFor(deal, seed >> 8, who.right);
        uint256 position = who.right ? _deals[deal].at : 1 + (seed >> 16) % stepsOf(deal);
        File memory file = _file(deal, kind, position, who);
        Grounds memory grounds = _grounds[deal];
        vm.prank(who.who);
        court.challenge(file.deal, grounds.demand, grounds.rules, kind, file.step, file.serial, file.answer);
        ++_deals[deal].open;
        _record(deal, file, who, file.bond, position);
        _did("challenge");
        if (seed >> 24 & 1 == 1) _joinCase(_disputes.length - 1, seed >> 32); // another has seen it too
    }

    function _join(uint256 which, uint256 seed) private {
        (bool found, uint256 c) = _find(which, CasePhase.OPEN);
        if (found && _contenders[c].length < 8 && block.number <= _timeOf(c)) _joinCase(c, seed);
    }

    function _joinCase(uint256 c, uint256 seed) private {
        Dispute storage d = _disputes[c];
        Contender memory who = _contender(d.deal, seed);
        if (who.right) who.right = _isRight(d);
        who.answer = _answerOf(d.deal, d.position, who.right);
        bool copies = seed >> 8 & 1 == 1;
        if (copies) (who.shows, who.right) = (false, false);
        who.hidden = copies ? d.file.answer : _hide(idOf(d), who.answer, who.who);
        uint96 bond = _bondFor(d.deal);
        _afford(who.who, bond);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        vm.prank(who.who);
        court.join(file, grounds.demand, grounds.rules, who.hidden);
        _contenders[c].push(who);
        _lock(c, who.who, bond);
        if (copies) _see("copier");
        _did("join");
    }

    function _demandLeaves(uint256 which, uint256 seed) private {
        (bool found, uint256 deal) = _disputable(which, Fault.SILENT);
        if (!found || stepsOf(deal) <= Trace.POSTED_STEPS) return;
        Contender memory who = _contender(deal, seed);
        uint256 position = who.right ? _deals[deal].at : 1 + (seed >> 16) % stepsOf(deal);
        File memory file = _file(deal, Kind.WITHHELD, position, who);
        Grounds memory grounds = _grounds[deal];
        vm.prank(who.who);
        court.demandLeaves(file.deal, grounds, file.serial);
        ++_deals[deal].open;
        _record(deal, file, who, file.bond, position);
        _did("demand leaves");
    }

    /// @dev Shows a malformed leaf, which ends the deal at once; of any other deal no leaf passes for one.
    function _challengeSpec(uint256 which, uint256 seed) private {
        (bool found, uint256 deal) = _disputable(which, Fault.MALFORMED);
        if (!found || stepsOf(deal) == 1) return;
        bool malformed = _deals[deal].fault == Fault.MALFORMED;
        uint256 position = malformed ? _deals[deal].at : 1 + (seed >> 16) % (stepsOf(deal) - 1);
        Claim memory claim_ = _deals[deal].claim;
        bytes memory call =
            abi.encodeCall(IDisputeCourt.challengeSpec, (claim_, _grounds[deal], leafProof(deal, position)));
        Before memory b = _beforeDeal(deal);
        vm.prank(_sealedOr(deal, challenger(seed)));
        (bool done,) = address(court).call(call);
        vm.assertTrue(
            done == malformed, "a SPEC challenge succeeds where a leaf is malformed, and only there"
        );
        _did(done ? "spec" : "spec refused");
        if (!done) return;
        _bondLost(claim_.terms, b);
        ++kinds[Kind.SPEC];
        _close(deal, Phase.OVERTURNED);
    }

    /* CASES GO ON */

    function _showTurn(uint256 which, uint256 seed) private {
        (bool found, uint256 c) = _find(which, CasePhase.OPEN);
        if (!found) return;
        uint256 seedBlock = _timeOf(c);
        _mineTo(seedBlock + 1);
        if (!_isIn(c, CasePhase.OPEN)) return;
        bool late = block.number > seedBlock + _clocks.revealBlocks;
        uint256 i = seed % _contenders[c].length;
        if (late || _contenders[c][i].shown) {
            if (_shown(c) != 0) _drawFrom(c, CasePhase.OPEN);
            else if (late) _settle(c);
        } else if (_contenders[c][i].shows) {
            _show(c, i);
            _did("show");
        } else {
            _copies(c, i);
            _mine(1 + _clocks.revealBlocks / 4);
            _did("show what is another's");
        }
    }

    function _showAll(uint256 c) internal {
        uint256 number = _contenders[c].length;
        for (uint256 i = 0; i < number; ++i) {
            if (_contenders[c][i].shows && !_contenders[c][i].shown) _show(c, i);
        }
    }

    function _show(uint256 c, uint256 index) private {
        Dispute storage d = _disputes[c];
        Contender storage who = _contenders[c][index];
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        Opening memory opening = Opening(who.answer, SALT);
        _revive(idOf(d));
        vm.prank(_handOf(who.who));
        court.showAnswer(file, grounds, uint8(index), opening, leaf, proof);
        who.shown = true;
        _note(c);
    }

    /// @dev One who has nothing of its own to show cannot show what is another's.
    function _copies(uint256 c, uint256 index) private {
        Dispute storage d = _disputes[c];
        File memory file = d.file;
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        bool copied = _contenders[c][index].who != file.opener && _contenders[c][index].hidden == file.answer;
        Opening memory opening = Opening(_contenders[c][0].answer, copied ? SALT : keccak256("guess"));
        Grounds memory grounds = _grounds[d.deal];
        bytes memory call =
            abi.encodeCall(IDisputeCourt.showAnswer, (file, grounds, uint8(index), opening, leaf, proof));
        vm.prank(_contenders[c][index].who);
        _refused(address(court), call);
    }

    /// @dev Whoever is wronged appeals, and sometimes one who is not.
    function _appeal(uint256 which, uint256 seed) private {
        (bool found, uint256 c) = _find(which, CasePhase.DECIDED);
        if (!found) return;
        Dispute storage d = _disputes[c];
        (,,, uint8 seats,,) = court.caseOf(idOf(d));
        Grounds memory grounds = _grounds[d.deal];
        bool able = block.timestamp <= _timeOf(c) && seats <= 7 && grounds.rules.quorum == 0;
        if (!able || (d.fair ? seed % 8 != 0 : seed % 8 == 1)) return;
        address who = seed & 16 == 0 ? challenger(seed) : puppet(d.file.deal.terms.provider);
        _afford(who, uint256(seats == 3 ? 7 : 15) * grounds.rules.arbiterFee);
        uint256 before = free(who);
        File memory file = d.file;
        (, Verdict verdict,,,,) = court.caseOf(idOf(d));
        vm.prank(who);
        court.appeal(file, grounds);
        _appeals[c].push(Appealing(who, before - free(who), verdict));
        _lock(c, who, before - free(who));
        _note(c);
        _did(d.fair ? "appeal of right" : "appeal of wrong");
    }

    /* FORCED REVEALS */

    function _descendTurn(uint256 which, uint256 seed) private {
        (bool found, uint256 c) = _find(which, CasePhase.ANSWERED);
        if (!found) return;
        if (block.timestamp <= _timeOf(c) && seed % 8 != 0) {
            _goOn(c);
            _did("descend");
        } else {
            _settleAfter(c, CasePhase.ANSWERED);
        }
    }

    /// @dev The opener of a forced reveal asks on, or names the step: the one that is at fault, if it knows.
    function _goOn(uint256 c) internal {
        Dispute storage d = _disputes[c];
        bytes32[] memory nodes = tree(d.deal);
        uint256 levels = _levelsBelow(d, nodes.length);
        bytes32[] memory shown = _below(d, nodes);
        uint256 leaf = nodes.length / 2 + d.position;
        uint256 child = leaf;
        while (child >= (d.node + 1) << levels) child >>= 1;
        uint8 number = uint8(child - (d.node << levels));
        if (child != leaf) {
            File memory file = d.file;
            vm.prank(_handOf(file.opener));
            court.descend(file, shown, number);
            d.node = child;
            _note(c);
        } else {
            _name(c, shown, number);
        }
    }

    function _name(uint256 c, bytes32[] memory shown, uint8 child) private {
        Dispute storage d = _disputes[c];
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        Contender memory who = _contenders[c][0];
        uint32 step = uint32(firstStepOf(d.deal) + d.position - 1);
        uint32 serial = uint32(_disputes.length);
        bytes32 id = Files.caseId(file.deal.dealId, uint256(Kind.STEP), step, serial);
        who.hidden = _hide(id, who.answer, who.who);
        vm.prank(_handOf(file.opener));
        court.nameStep(file, grounds, shown, child, serial, who.hidden);
        _note(c);
        uint256 locked = d.locked;
        _end(c);
        File memory named_ =
            File(file.deal, uint8(Kind.STEP), step, serial, file.opener, file.bond, who.hidden);
        _record(d.deal, named_, who, locked, d.position);
        _see("name a step");
    }

    /* WHO, AND WHAT IT SAYS */

    function _contender(uint256 deal, uint256 seed) private returns (Contender memory who) {
        Dealing storage d = _deals[deal];
        uint256 strategy = seed % 6;
        who.who = _sealedOr(deal, challenger(seed >> 4));
        who.shows = strategy != 2;
        bool findable = d.fault != Fault.NONE && d.fault != Fault.SILENT;
        who.right = findable && strategy != 1 && strategy != 2;
        if (!who.right) _see(who.shows ? "wrong challenger" : "silent challenger");
        if (_grounds[deal].rules.sealed_) return who;
        if (strategy == 3) who.who = puppet(d.claim.terms.provider);
        if (strategy == 4) who.who = d.claim.terms.requester;
        if (strategy == 5) who.who = arbiter(0);
        if (strategy == 3) _see("self-dispute");
    }

    function _kindFor(uint256 deal, uint256 seed, bool right) private view returns (Kind) {
        if (!right) return seed & 1 == 0 ? Kind.STEP : Kind.DATA;
        return _deals[deal].fault == Fault.MISSING && seed & 1 == 0 ? Kind.DATA : Kind.STEP;
    }

    /// @dev Whether the case itself is right, so that joining it can be.
    function _isRight(Dispute storage d) private view returns (bool) {
        (Vote vote_,) = truth(d.deal, d.file.kind, d.position);
        return vote_ != Vote.UPHOLD;
    }

    function _answerOf(uint256 deal, uint256 position, bool right) private view returns (bytes32) {
        return right ? rightLeaf(deal, position) : nonsense(deal);
    }

    function _hide(bytes32 id, bytes32 answer, address who) private pure returns (bytes32) {
        return keccak256(abi.encode(Files.ANSWER, id, answer, SALT, who));
    }

    /// @dev A new case; sets what `who` will show in it.
    function _file(uint256 deal, Kind kind, uint256 position, Contender memory who)
        private
        returns (File memory file)
    {
        bool withheld = kind == Kind.WITHHELD;
        file.deal = _deals[deal].claim;
        file.kind = uint8(kind);
        file.step = withheld ? 0 : uint32(firstStepOf(deal) + position - 1);
        file.serial = uint32(_disputes.length);
        file.opener = who.who;
        file.bond = _bondFor(deal) << uint96(_deals[deal].open); // each open case doubles it
        _afford(who.who, file.bond);
        who.answer = _answerOf(deal, position, who.right);
        bytes32 id = Files.caseId(file.deal.dealId, file.kind, file.step, file.serial);
        who.hidden = _hide(id, who.answer, who.who);
        if (!withheld) file.answer = who.hidden;
    }
}
