// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {Files} from "../../src/libraries/Files.sol";
import {CasePhase, CourtClocks, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Phase} from "../../src/types/Deal.sol";
import {Market} from "../base/Market.sol";
import {CourtBook, Contender, Dealing, Dispute, Fault, Temper} from "./CourtBook.sol";

/// @notice What each party of a case does when it is its turn, and the clock, which waits for those who are honest.
abstract contract CourtDuties is CourtBook {
    uint256 private constant HASHES_KEPT = 256;
    /// @dev Time passes in pieces that are shorter than any clock of the court, so that each duty comes up once.
    uint256 private constant PIECE = 60;
    uint256 private constant BLOCKS = 6;

    CourtClocks internal _clocks;
    /// @notice While arbiters strike, nobody votes.
    bool public striking;

    constructor(Market market_, IDisputeCourt court_) CourtBook(market_, court_) {
        _clocks = pools.courtClocks();
    }

    /* TIME */

    /// @dev Those who are honest and awake do in time what would be too late afterwards.
    function _pass(uint256 time) internal {
        uint256 until = block.timestamp + time;
        while (block.timestamp < until) {
            _attend(PIECE, 0);
            uint256 next = block.timestamp + PIECE;
            vm.warp(next < until ? next : until);
        }
    }

    function _mine(uint256 blocks) internal {
        uint256 until = block.number + blocks;
        while (block.number < until) {
            _attend(0, BLOCKS);
            uint256 next = block.number + BLOCKS;
            vm.roll(next < until ? next : until);
        }
    }

    function _mineTo(uint256 number) internal {
        if (block.number < number) _mine(number - block.number);
    }

    function _passTo(uint256 time) internal {
        if (block.timestamp < time) _pass(time - block.timestamp);
    }

    function _attend(uint256 time, uint256 blocks) private {
        uint256[] memory open = _openCases; // a copy: a case about a step can take the place of another
        for (uint256 i = 0; i < open.length; ++i) {
            _serve(open[i], block.timestamp + time, block.number + blocks);
        }
    }

    function _serve(uint256 c, uint256 time, uint256 number) private {
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

    /* CHALLENGERS */

    function _showAll(uint256 c) internal {
        uint256 number = _contenders[c].length;
        for (uint256 i = 0; i < number; ++i) {
            if (_contenders[c][i].shows && !_contenders[c][i].shown) _show(c, i);
        }
    }

    function _show(uint256 c, uint256 index) internal {
        Dispute storage d = _disputes[c];
        Contender storage who = _contenders[c][index];
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        _revive(idOf(d));
        vm.prank(who.who);
        court.showAnswer(file, grounds, uint8(index), Opening(who.answer, SALT), leaf, proof);
        who.shown = true;
        _note(c);
    }

    /// @dev The opener of a forced reveal asks on, or names the step: the one that is at fault, if it knows.
    function _goOn(uint256 c) internal {
        Dispute storage d = _disputes[c];
        bytes32[] memory nodes = tree(d.deal);
        uint256 levels = _levelsBelow(d, nodes.length);
        bytes32[] memory shown = _below(d, nodes, levels);
        uint256 leaf = nodes.length / 2 + d.position;
        uint256 child = leaf;
        while (child >= (d.node + 1) << levels) child >>= 1;
        uint8 number = uint8(child - (d.node << levels));
        if (child != leaf) {
            File memory file = d.file;
            vm.prank(file.opener);
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
        vm.prank(file.opener);
        court.nameStep(file, grounds, shown, child, serial, who.hidden);
        _note(c);
        uint256 locked = d.locked;
        _end(c);
        File memory named_ =
            File(file.deal, uint8(Kind.STEP), step, serial, file.opener, file.bond, who.hidden);
        _record(d.deal, named_, who, locked, d.position);
    }

    /* THE PROVIDER */

    /// @dev All but those who withhold do so in time.
    function _answer(uint256 c) internal returns (bool) {
        Dispute storage d = _disputes[c];
        if (_deals[d.deal].fault == Fault.SILENT) return false;
        bytes32[] memory nodes = tree(d.deal);
        bytes32[] memory shown = _below(d, nodes, _levelsBelow(d, nodes.length));
        File memory file = d.file;
        vm.prank(file.deal.terms.provider);
        court.answerLeaves(file, shown);
        _note(c);
        return true;
    }

    /* ARBITERS */

    /// @dev Up to `most` seats cast; says how many have.
    function _castAll(uint256 c, uint256 most) internal returns (uint256 done) {
        if (striking) return 0;
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        for (uint8 seat = 0; seat < seats && done < most; ++seat) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state != 1 || temperOf(who) == Temper.ABSENT) continue;
            (Vote vote, bytes32 leaf) = _voteOf(c, who);
            bytes32 hidden = keccak256(abi.encode(Files.VOTE, id, uint256(round), vote, leaf, SALT, who));
            vm.prank(who);
            court.castVote(pool_, id, seat, hidden);
            ++done;
        }
        _note(c);
    }

    function _revealAll(uint256 c, uint256 most) internal returns (uint256 done) {
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        for (uint8 seat = 0; seat < seats && done < most; ++seat) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state != 2) continue;
            (Vote vote, bytes32 leaf) = _voteOf(c, who);
            vm.prank(who);
            court.revealVote(pool_, id, seat, vote, leaf, SALT);
            ++done;
        }
        _note(c);
    }

    /// @dev Whether honest arbiters alone are enough for a verdict of this round, and whether all who voted are.
    function _votes(uint256 c) internal view returns (bool fair, bool enough) {
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        (uint256 honest, uint256 revealed) = (0, 0);
        for (uint8 seat = 0; seat < seats; ++seat) {
            (address who, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state != 3) continue;
            ++revealed;
            if (temperOf(who) == Temper.HONEST) ++honest;
        }
        uint256 quorum = _grounds[_disputes[c].deal].rules.quorum;
        uint256 needed = quorum == 0 ? (2 * uint256(seats) + 2) / 3 : quorum;
        return (honest >= needed, revealed >= needed);
    }

    /// @dev Colluders convict who is honest, by the leaf that wrong challengers show, and cover who is not.
    function _voteOf(uint256 c, address who) private view returns (Vote vote, bytes32 leaf) {
        Dispute storage d = _disputes[c];
        (vote, leaf) = truth(d.deal, d.file.kind, d.position);
        Temper temper = temperOf(who);
        if (temper == Temper.HONEST) return (vote, leaf);
        bool data = d.file.kind == uint8(Kind.DATA);
        if (temper == Temper.LAZY || vote != Vote.UPHOLD) {
            return (Vote.UPHOLD, data ? bytes32(0) : leafAt(d.deal, d.position));
        }
        if (data) return (Vote.UNAVAILABLE, 0);
        return (Vote.OVERTURN, _exact(d.deal) ? _nonsense(d.deal) : bytes32(0));
    }

    /* PARTS */

    /// @dev The leaf in question as committed, and its proof; nothing in a case about data.
    function _claimed(Dispute storage d) internal view returns (bytes32 leaf, bytes32[] memory proof) {
        if (d.file.kind == uint8(Kind.DATA)) return (0, proof);
        leaf = leafAt(d.deal, d.position);
        proof = proofIn(tree(d.deal), d.position);
    }

    /// @dev What a wrong challenger and a colluding arbiter have agreed on.
    function _nonsense(uint256 deal) internal pure returns (bytes32) {
        return keccak256(abi.encode("nonsense", deal));
    }

    function _hide(bytes32 id, bytes32 answer, address who) internal pure returns (bytes32) {
        return keccak256(abi.encode(Files.ANSWER, id, answer, SALT, who));
    }

    /// @dev The hash of a case's seed block, which a test's chain does not have by itself.
    function _revive(bytes32 id) internal {
        (,,,,, uint40 seedBlock) = court.caseOf(id);
        if (block.number <= seedBlock || block.number > seedBlock + HASHES_KEPT) return;
        vm.setBlockhash(seedBlock, keccak256(abi.encode("block", seedBlock)));
    }

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
        d.locked = locked;
        if (who.who != address(0)) _contenders[c].push(who);
        _openCases.push(c);
        ++kinds[Kind(file.kind)];
        _note(c);
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
        (CasePhase phase,,,,,) = court.caseOf(idOf(_disputes[c]));
        ++phases[phase];
    }

    function _roundOf(uint256 c) internal view returns (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) {
        id = idOf(_disputes[c]);
        pool_ = poolOf(_disputes[c]);
        (,, round, seats,,) = court.caseOf(id);
    }

    function _levelsBelow(Dispute storage d, uint256 nodes) private view returns (uint256 levels) {
        for (uint256 node = d.node; 2 * node < nodes && levels < 3; node *= 2) {
            ++levels;
        }
    }

    function _below(Dispute storage d, bytes32[] memory nodes, uint256 levels)
        private
        view
        returns (bytes32[] memory shown)
    {
        shown = new bytes32[](1 << levels);
        for (uint256 i = 0; i < shown.length; ++i) {
            shown[i] = nodes[(d.node << levels) + i];
        }
    }
}
