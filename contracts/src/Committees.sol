// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cases} from "./Cases.sol";
import {IDisputeCourt} from "./interfaces/IDisputeCourt.sol";
import {Files} from "./libraries/Files.sol";
import {Judgement} from "./libraries/Judgement.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "./types/Case.sol";
import {CaseSlot, CaseSlotLib, Count} from "./types/CaseSlot.sol";
import {Claim, DemandCore} from "./types/Deal.sol";
import {DealSheetLib} from "./types/DealSheet.sol";
import {Class, Rules} from "./types/Rules.sol";
import {Seat, SeatLib} from "./types/Seat.sol";

/// @title Committees
/// @notice From hidden answers to a verdict: the draw, the votes, the count, appeals, and the arbiters' pay.
abstract contract Committees is Cases {
    uint256 private constant MAX_CHALLENGERS = 8;
    uint256 private constant MAX_REDRAWS = 2;
    uint256 internal constant HASHES_KEPT = 256;
    uint256 private constant LEAST_SEATS = 3;
    uint256 private constant MILLION = 1_000_000;
    uint256 private constant MEBIBYTE_BITS = 20;

    /// @dev A challenger besides the opener; at index 0, what the opener has shown.
    struct Challenger {
        address who;
        bool shown;
        /// @dev The hidden answer; once shown, what goes into the seed.
        bytes32 answer;
    }

    struct Appeal {
        address appellant;
        uint96 amount;
        Verdict against;
    }

    mapping(bytes32 caseId => mapping(uint256 index => Challenger)) internal _challengers;
    mapping(bytes32 caseId => mapping(uint256 number => Appeal)) internal _appeals;
    mapping(bytes32 caseId => uint256) private _auditedSteps;
    /// @dev What a committee has agreed on; zero for none.
    mapping(bytes32 caseId => uint256) internal _findings;
    mapping(bytes32 seatKey => Seat) private _seats;

    /* CHALLENGERS */

    /// @inheritdoc IDisputeCourt
    // slither-disable-next-line reentrancy-no-eth
    function challenge(
        Claim calldata deal,
        DemandCore calldata demand,
        Rules calldata rules,
        Kind kind,
        uint32 step,
        uint32 serial,
        bytes32 answer
    ) external returns (bytes32 caseId) {
        if (kind > Kind.DATA) revert NotChallengeable(deal.dealId);
        _requireChallengeable(deal, demand, rules, msg.sender);
        caseId = Files.caseId(deal.dealId, uint256(kind), step, serial);
        _requireFree(caseId);
        uint96 bond = market.openChallenge(deal, _bond(deal.terms), msg.sender);
        _openCase(caseId, deal, kind, step, serial, msg.sender, bond, answer);
    }

    /// @inheritdoc IDisputeCourt
    function join(File calldata file, DemandCore calldata demand, Rules calldata rules, bytes32 answer)
        external
    {
        (bytes32 caseId, CaseSlot s) = _expect(file, CasePhase.OPEN);
        _requireChallengeable(file.deal, demand, rules, msg.sender);
        if (block.number > s.time()) revert ClockOver(s.time());
        uint256 index = s.count(Count.CHALLENGERS);
        if (index == MAX_CHALLENGERS) revert TooManyChallengers();
        uint96 bond = _bond(file.deal.terms);
        _cases[caseId].slot = s.more(Count.CHALLENGERS);
        _challengers[caseId][index] = Challenger(msg.sender, false, answer);
        emit Joined(caseId, msg.sender, uint8(index), bond, answer);
        market.pull(msg.sender, bond);
    }

    /// @inheritdoc IDisputeCourt
    function showAnswer(
        File calldata file,
        Grounds calldata grounds,
        uint8 index,
        Opening calldata opening,
        bytes32 claimed,
        bytes32[] calldata proof
    ) external {
        (bytes32 caseId, CaseSlot s) = _expect(file, CasePhase.OPEN);
        uint256 seedBlock = s.time();
        if (block.number <= seedBlock) revert ClockRunning(seedBlock);
        if (block.number > seedBlock + _revealBlocks) revert ClockOver(seedBlock + _revealBlocks);
        _requireClaimed(file, file.step, grounds, claimed, proof);

        bytes32 piece = _show(caseId, file, index, opening);
        s = s.more(Count.SHOWN);
        uint256 challengers = s.count(Count.CHALLENGERS);
        bool last = s.count(Count.SHOWN) == challengers;
        if (last && challengers == 1) {
            bytes32 only = keccak256(abi.encode(piece));
            if (_seat(caseId, s, file.step, file, grounds.rules, only, claimed)) return;
        }
        Challenger storage record = _challengers[caseId][index];
        record.shown = true;
        record.answer = piece;
        if (last && challengers > 1) {
            bytes32 pieces = _pieces(caseId, challengers);
            if (_seat(caseId, s, file.step, file, grounds.rules, pieces, claimed)) return;
        }
        _cases[caseId].slot = s;
    }

    /* THE DRAW */

    /// @inheritdoc IDisputeCourt
    function beginAudit(Claim calldata deal, DemandCore calldata demand, Rules calldata rules)
        external
        returns (bytes32 caseId)
    {
        _requireChallengeable(deal, demand, rules, msg.sender);
        caseId = Files.caseId(deal.dealId, uint256(Kind.AUDIT), 0, 0);
        _requireFree(caseId);
        // Made-up terms would use up the deal's only lot.
        // slither-disable-next-line unused-return
        (,,, uint200 hashOfDeal) = market.slot(deal.dealId);
        if (DealSheetLib.open(deal).committed() != hashOfDeal) revert GroundsMismatch(deal.dealId);
        uint256 seedBlock = block.number + _joinBlocks;
        uint160 hash = Files.hash(deal, Kind.AUDIT, 0, 0, address(0), 0, 0);
        _cases[caseId].slot = CaseSlotLib.pack(CasePhase.DRAWING, seedBlock, hash);
        emit Challenged(caseId, deal.dealId, address(0), uint8(Kind.AUDIT), 0, 0, 0, 0, uint40(seedBlock));
    }

    /// @inheritdoc IDisputeCourt
    // slither-disable-next-line reentrancy-no-eth
    function draw(File calldata file, Grounds calldata grounds, bytes32 claimed, bytes32[] calldata proof)
        external
    {
        (bytes32 caseId, CaseSlot s) = _caseOf(file);
        bytes32 pieces = 0;
        if (s.phase() == CasePhase.OPEN) {
            if (s.count(Count.SHOWN) == 0) revert WrongCasePhase(caseId, CasePhase.OPEN);
            uint256 challengers = s.count(Count.CHALLENGERS);
            uint256 over = s.time() + _revealBlocks;
            if (s.count(Count.SHOWN) != challengers && block.number <= over) revert ClockRunning(over);
            pieces = _pieces(caseId, challengers);
        } else if (s.phase() != CasePhase.DRAWING) {
            revert WrongCasePhase(caseId, s.phase());
        } else if (_awaitsLot(file, s)) {
            Files.requireGrounds(file.deal, grounds);
            if (!_isChosen(caseId, s, file, grounds)) return;
        }
        uint256 step = _stepOf(caseId, file);
        _requireClaimed(file, step, grounds, claimed, proof);
        if (!_seat(caseId, s, step, file, grounds.rules, pieces, claimed)) {
            revert TooFewArbiters(grounds.rules.pool);
        }
    }

    /// @inheritdoc IDisputeCourt
    function retarget(File calldata file) external {
        (bytes32 caseId, CaseSlot s) = _caseOf(file);
        bool waits = s.phase() == CasePhase.OPEN
            ? s.count(Count.SHOWN) != 0
            : s.phase() == CasePhase.DRAWING && !_awaitsLot(file, s);
        if (!waits) revert WrongCasePhase(caseId, s.phase());
        if (block.number <= s.time() + HASHES_KEPT) revert ClockRunning(s.time() + HASHES_KEPT);
        _startDrawing(caseId, s);
    }

    /* VOTES */

    /// @inheritdoc IDisputeCourt
    function castVote(bytes32 pool, bytes32 caseId, uint8 seat, bytes32 hiddenVote) external {
        CaseSlot s = _cases[caseId].slot;
        if (s.phase() != CasePhase.VOTING) revert WrongCasePhase(caseId, s.phase());
        if (block.timestamp > s.time()) revert ClockOver(s.time());
        uint256 round = s.count(Count.ROUND);
        bytes32 key = SeatLib.key(pool, caseId, round, seat);
        Seat taken = _seats[key];
        if (taken.state() != SeatLib.DRAWN) revert NotYourSeat(seat);
        _requireActingFor(pools.walletAt(pool, taken.position()));
        _seats[key] = taken.cast(hiddenVote);
        s = s.more(Count.CAST);
        if (s.count(Count.CAST) == s.count(Count.SEATS)) {
            s = s.to(CasePhase.REVEALING, block.timestamp + _revealTime);
        }
        _cases[caseId].slot = s;
        emit VoteCast(caseId, uint8(round), seat);
    }

    /// @inheritdoc IDisputeCourt
    function revealVote(bytes32 pool, bytes32 caseId, uint8 seat, Vote vote, bytes32 leaf, bytes32 salt)
        external
    {
        CaseSlot s = _cases[caseId].slot;
        if (s.phase() == CasePhase.VOTING && block.timestamp > s.time()) {
            s = s.to(CasePhase.REVEALING, s.time() + _revealTime);
        }
        if (s.phase() != CasePhase.REVEALING) revert WrongCasePhase(caseId, s.phase());
        if (block.timestamp > s.time()) revert ClockOver(s.time());
        uint256 round = s.count(Count.ROUND);
        bytes32 key = SeatLib.key(pool, caseId, round, seat);
        Seat taken = _seats[key];
        address arbiter = pools.walletAt(pool, taken.position());
        bytes32 hidden = keccak256(abi.encode(Files.VOTE, caseId, round, vote, leaf, salt, arbiter));
        if (!taken.hides(hidden)) revert BadOpening();
        _requireActingFor(arbiter);
        _seats[key] = taken.reveal(Judgement.finding(vote, leaf));
        _cases[caseId].slot = s.more(Count.REVEALED);
        emit VoteRevealed(caseId, uint8(round), seat, uint8(vote), leaf);
    }

    /// @inheritdoc IDisputeCourt
    function resolve(File calldata file, Grounds calldata grounds, bytes32 claimed, bytes32[] calldata proof)
        external
    {
        (bytes32 caseId, CaseSlot s) = _caseOf(file);
        _requireVotesIn(caseId, s);
        _requireClaimed(file, _stepOf(caseId, file), grounds, claimed, proof);
        Rules calldata rules = grounds.rules;
        uint256 needed = Judgement.needed(s.count(Count.SEATS), rules.quorum);
        (uint256 finding, uint256 count, uint256 valid) = Judgement.tally(
            _roundOf(caseId, s, rules.pool),
            claimed,
            rules.class_ == uint8(Class.EXACT),
            file.kind == uint8(Kind.DATA)
        );
        uint256 redraws = s.count(Count.REDRAWS);
        if (count >= needed) {
            _decide(caseId, s, Judgement.verdictOf(finding), finding);
        } else if (rules.quorum != 0 || redraws == MAX_REDRAWS || (valid >= needed && redraws != 0)) {
            _decide(caseId, s, valid >= needed ? Verdict.VOID : Verdict.SPLIT, 0);
        } else {
            if (s.count(Count.SIZE) == 0) s = s.with(Count.SIZE, 1);
            _startDrawing(caseId, s.more(Count.REDRAWS).more(Count.ROUND));
        }
    }

    /// @inheritdoc IDisputeCourt
    function appeal(File calldata file, Grounds calldata grounds) external {
        (bytes32 caseId, CaseSlot s) = _expect(file, CasePhase.DECIDED);
        Files.requireGrounds(file.deal, grounds);
        if (block.timestamp > s.time()) revert ClockOver(s.time());
        uint256 size = s.count(Count.SIZE) + 1;
        if (size > Judgement.LAST_SIZE || grounds.rules.quorum != 0) revert NoFurtherAppeal();
        uint96 amount = uint96(Judgement.seats(size)) * grounds.rules.arbiterFee;
        _appeals[caseId][s.count(Count.APPEALS)] = Appeal(msg.sender, amount, s.verdict());
        s = s.more(Count.APPEALS).more(Count.ROUND).with(Count.SIZE, size);
        emit Appealed(caseId, msg.sender, uint8(s.count(Count.ROUND)), amount);
        _startDrawing(caseId, s);
        market.pull(msg.sender, amount);
    }

    /// @inheritdoc IDisputeCourt
    // slither-disable-next-line reentrancy-no-eth
    function payCommittee(bytes32 pool, bytes32 caseId, uint8 round) external {
        CaseSlot s = _cases[caseId].slot;
        if (s.phase() != CasePhase.CLOSED) revert WrongCasePhase(caseId, s.phase());
        uint96 fee = uint96(s.hash());
        uint256 finding = _findings[caseId];
        uint96 burned = 0;
        bytes32 key = SeatLib.key(pool, caseId, round, 0);
        // Nodes believe the event: nobody may have it for another pool, for a round that never was, or twice.
        if (_seats[key].state() == 0) revert NothingToPay(caseId, round);
        for (uint256 seat = 0; _seats[key].state() != 0;) {
            Seat taken = _seats[key];
            _seats[key] = Seat.wrap(0);
            uint256 found = taken.finding();
            if (found != 0 && (finding == 0 || found == finding)) {
                pools.earn(pool, taken.position(), fee);
            } else {
                burned += fee + pools.penalise(pool, taken.position(), fee);
            }
            key = SeatLib.key(pool, caseId, round, ++seat);
        }
        emit CommitteePaid(caseId, round, burned);
        if (burned != 0) market.pay(burned, address(0));
    }

    /* VIEWS */

    /// @inheritdoc IDisputeCourt
    function seatOf(bytes32 pool, bytes32 caseId, uint8 round, uint8 seat)
        external
        view
        returns (address arbiter, uint8 state)
    {
        Seat taken = _seats[SeatLib.key(pool, caseId, round, seat)];
        if (taken.state() != 0) return (pools.walletAt(pool, taken.position()), uint8(taken.state()));
    }

    /* INTERNAL */

    function _openCase(
        bytes32 caseId,
        Claim calldata deal,
        Kind kind,
        uint32 step,
        uint32 serial,
        address opener,
        uint96 bond,
        bytes32 answer
    ) internal {
        uint256 seedBlock = block.number + _joinBlocks;
        uint160 hash = Files.hash(deal, kind, step, serial, opener, bond, answer);
        _cases[caseId].slot = CaseSlotLib.pack(CasePhase.OPEN, seedBlock, hash).with(Count.CHALLENGERS, 1);
        emit Challenged(
            caseId, deal.dealId, opener, uint8(kind), step, serial, bond, answer, uint40(seedBlock)
        );
    }

    /// @dev Seats arbiters and starts their time; false where there are too few.
    function _seat(
        bytes32 caseId,
        CaseSlot s,
        uint256 step,
        File calldata file,
        Rules calldata rules,
        bytes32 pieces,
        bytes32 claimed
    ) private returns (bool) {
        uint256 round = s.count(Count.ROUND);
        uint256[] memory positions;
        address[] memory arbiters;
        if (rules.quorum != 0) {
            (positions, arbiters) = pools.named(rules.pool);
        } else {
            bytes32 seed = keccak256(abi.encode(Files.SEED, caseId, round, _hashOf(s.time()), pieces));
            uint256 seats = Judgement.seats(s.count(Count.SIZE));
            (positions, arbiters) = pools.drawn(rules.pool, seed, seats, _parties(caseId, s, file));
        }
        if (positions.length < (rules.quorum == 0 ? LEAST_SEATS : rules.quorum)) return false;

        uint256 voteBy = block.timestamp + _voteTime + 2 * uint256(rules.stepSeconds)
            + (rules.maxStateBytes >> MEBIBYTE_BITS);
        if (voteBy > type(uint40).max) voteBy = type(uint40).max; // more would run into the counts
        for (uint256 i = 0; i < positions.length; ++i) {
            _seats[SeatLib.key(rules.pool, caseId, round, i)] = SeatLib.drawn(positions[i]);
        }
        _cases[caseId].slot = s.seated(positions.length).to(CasePhase.VOTING, voteBy);
        emit Drawn(caseId, rules.pool, uint8(round), uint32(step), claimed, uint40(voteBy), arbiters);
        return true;
    }

    /// @dev Whether the lot falls on this result; closes the audit when not, else counts it as open.
    function _isChosen(bytes32 caseId, CaseSlot s, File calldata file, Grounds calldata grounds)
        private
        returns (bool chosen)
    {
        uint256 lot = uint256(keccak256(abi.encode(Files.LOT, caseId, _hashOf(s.time()))));
        // Whoever makes the block can spoil a draw, but not choose a result: it is committed before.
        // slither-disable-next-line weak-prng
        chosen = lot % MILLION < grounds.rules.auditPpm;
        if (chosen) {
            uint256 first = uint32(grounds.demand.steps >> 32);
            // slither-disable-next-line weak-prng
            _auditedSteps[caseId] = first + (lot / MILLION) % grounds.result.stepCount;
            // An audit has no bond.
            // slither-disable-next-line unused-return
            market.openChallenge(file.deal, 0, address(0));
        } else {
            _closeAs(caseId, file.deal.dealId, s, Verdict.LAPSED, 0);
        }
    }

    /// @dev Checks an opening and returns what of it goes into the seed.
    function _show(bytes32 caseId, File calldata file, uint256 index, Opening calldata opening)
        private
        returns (bytes32)
    {
        Challenger storage record = _challengers[caseId][index];
        address who = index == 0 ? file.opener : record.who;
        _requireActingFor(who);
        bytes32 hidden = index == 0 ? file.answer : record.answer;
        if (record.shown || Files.hiddenAnswer(caseId, opening, who) != hidden) revert BadOpening();
        emit AnswerShown(caseId, who, uint8(index), opening.answer, opening.salt);
        return keccak256(abi.encode(opening.answer, opening.salt));
    }

    function _decide(bytes32 caseId, CaseSlot s, Verdict verdict, uint256 finding) private {
        uint256 appealBy = block.timestamp + _appealTime;
        _findings[caseId] = finding;
        _cases[caseId].slot = s.with(Count.VERDICT, uint256(verdict)).to(CasePhase.DECIDED, appealBy);
        bytes32 leaf = Judgement.leafOf(finding);
        emit Resolved(caseId, uint8(s.count(Count.ROUND)), uint8(verdict), leaf, uint40(appealBy));
    }

    /// @dev What the challengers have shown, in one word.
    function _pieces(bytes32 caseId, uint256 challengers) private view returns (bytes32) {
        bytes32[] memory pieces = new bytes32[](challengers);
        for (uint256 i = 0; i < challengers; ++i) {
            Challenger storage record = _challengers[caseId][i];
            if (record.shown) pieces[i] = record.answer;
        }
        return keccak256(abi.encodePacked(pieces));
    }

    /// @dev All who must not judge this case.
    function _parties(bytes32 caseId, CaseSlot s, File calldata file)
        private
        view
        returns (address[] memory parties)
    {
        uint256 challengers = s.count(Count.CHALLENGERS);
        parties = new address[](2 + challengers);
        parties[0] = file.deal.terms.provider;
        parties[1] = file.deal.terms.requester;
        for (uint256 i = 0; i < challengers; ++i) {
            parties[2 + i] = i == 0 ? file.opener : _challengers[caseId][i].who;
        }
    }

    function _roundOf(bytes32 caseId, CaseSlot s, bytes32 pool)
        private
        view
        returns (uint256[] memory findings)
    {
        uint256 round = s.count(Count.ROUND);
        findings = new uint256[](s.count(Count.SEATS));
        for (uint256 i = 0; i < findings.length; ++i) {
            findings[i] = _seats[SeatLib.key(pool, caseId, round, i)].finding();
        }
    }

    function _requireVotesIn(bytes32 caseId, CaseSlot s) private view {
        uint256 over = s.time();
        if (s.phase() == CasePhase.REVEALING) {
            if (s.count(Count.REVEALED) == s.count(Count.CAST)) return;
        } else if (s.phase() == CasePhase.VOTING) {
            if (s.count(Count.CAST) != 0) over += _revealTime;
        } else {
            revert WrongCasePhase(caseId, s.phase());
        }
        if (block.timestamp <= over) revert ClockRunning(over);
    }

    /// @dev The grounds are the deal's, and `claimed` is its leaf after `step`; of a DATA case only that there is one.
    function _requireClaimed(
        File calldata file,
        uint256 step,
        Grounds calldata grounds,
        bytes32 claimed,
        bytes32[] calldata proof
    ) private pure {
        Files.requireGrounds(file.deal, grounds);
        uint256 position = Files.positionAfter(step, grounds);
        if (file.kind == uint8(Kind.DATA)) return;
        Files.requireLeaf(grounds.result, position, claimed, proof);
    }

    function _stepOf(bytes32 caseId, File calldata file) private view returns (uint256) {
        return file.kind == uint8(Kind.AUDIT) ? _auditedSteps[caseId] : file.step;
    }

    function _hashOf(uint256 number) private view returns (bytes32 hash) {
        hash = blockhash(number);
        if (hash == 0) revert NoSeed(number);
    }
}
