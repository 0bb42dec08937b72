// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {Files} from "../../src/libraries/Files.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {
    CasePhase,
    File,
    Grounds,
    Kind,
    LeafProof,
    Opening,
    Statement,
    Verdict,
    Vote
} from "../../src/types/Case.sol";
import {Claim, Commitment, DemandCore, Mode, Phase, Terms} from "../../src/types/Deal.sol";
import {Class, Rules} from "../../src/types/Rules.sol";
import {Duty} from "../../src/interfaces/IPools.sol";
import {Market} from "../base/Market.sol";
import {Contender, Dealing, Dispute, Fault, Temper} from "./CourtBook.sol";
import {CourtDuties} from "./CourtDuties.sol";

/// @notice Plays every party of deals and disputes, each by any of its strategies, with legal moves only, so that any revert
/// is a finding; and tries what must not be possible.
contract CourtHandler is CourtDuties {
    uint256 private constant MOST_DEALS = 6;
    uint256 private constant MOST_CASES = 8;
    uint32 private constant WINDOW = 1_200;
    address private constant STRANGER = address(0xbeef);

    /// @dev Moves that changed something, and those that found nothing to do.
    uint256 public made;
    uint256 public idle;

    constructor(Market market_, IDisputeCourt court_) CourtDuties(market_, court_) {}

    modifier counted(bytes32 move) {
        uint256 before = made;
        _;
        if (made == before) ++idle;
        else ++seen[move];
    }

    /* DEALS */

    function trade(uint256 seed) external counted("trade") {
        if (_openDeals() >= MOST_DEALS) return;
        uint256 deal = _deals.length;
        Grounds storage grounds = _grounds[deal];
        grounds.rules = _rules(seed);
        grounds.demand = _demand(seed >> 16, grounds.rules);
        Terms memory terms = _terms(seed >> 32, grounds);
        _afford(terms.requester, uint256(terms.price) + terms.verification);
        vm.prank(terms.requester);
        bytes32 id = market.announce(terms, "");
        address by = provider(seed >> 40);
        _stake(by, uint256(terms.fraudBond) + terms.price / 10);
        vm.prank(by);
        market.assignFirst(by, terms);
        terms.provider = by;
        Dealing storage d = _deals.push();
        (d.claim.terms, d.claim.dealId, d.phase) = (terms, id, Phase.ASSIGNED);
        ++made;
    }

    /// @notice The provider commits: something right, or something wrong in any of the ways there are.
    function commit(uint256 which, uint256 seed) external counted("commit") {
        (bool found, uint256 deal) = _pick(which, Phase.ASSIGNED);
        if (!found || _isLate(deal)) return;
        Dealing storage d = _deals[deal];
        uint256 k = stepsOf(deal);
        d.at = 1 + (seed >> 8) % k;
        d.fault = _fault(seed, k, d.at);
        d.claim.amount = uint96(bound(seed >> 16, 0, d.claim.terms.price));
        Commitment memory c = Commitment({
            resultRoot: stateAt(deal, k, d.fault == Fault.WRONG && d.at == k),
            deliveryRoot: 0,
            stdoutRoot: 0,
            leavesCid: k == 1 ? bytes32(0) : keccak256("leaves"),
            stepCount: uint32(k),
            status: 0,
            amount: d.claim.amount
        });
        bytes32 root = _send(deal, c);
        _grounds[deal].result = Statement(root, c.resultRoot, c.resultRoot, c.leavesCid, k, 0);
        d.claim.commitmentDigest = keccak256(abi.encode(_grounds[deal].result));
        d.phase = Phase.COMMITTED;
        ++faults[d.fault];
        ++made;
    }

    function abandon(uint256 which) external counted("abandon") {
        (bool found, uint256 deal) = _pick(which, Phase.ASSIGNED);
        if (!found || which % 8 != 0 || _isLate(deal)) return;
        Claim memory claim_ = _deals[deal].claim;
        vm.prank(claim_.terms.provider);
        market.abandon(claim_.dealId, claim_.terms, address(0));
        _close(deal, Phase.REFUNDED);
    }

    function expire(uint256 which) external counted("expire") {
        (bool found, uint256 deal) = _pick(which, Phase.ASSIGNED);
        if (!found) return;
        if (which % 8 == 0) _passTo(_lateFrom(deal));
        if (!_isLate(deal)) return;
        Claim memory claim_ = _deals[deal].claim;
        vm.prank(STRANGER);
        market.expire(claim_.dealId, claim_.terms, address(0));
        _close(deal, Phase.REFUNDED);
    }

    function claim(uint256 which) external counted("claim") {
        (bool found, uint256 deal) = _pick(which, Phase.COMMITTED);
        if (!found) return;
        if (which % 8 == 0) _passTo(_windowEnd(deal) + 1);
        if (_deals[deal].open != 0 || block.timestamp <= _windowEnd(deal)) return;
        Claim memory claim_ = _deals[deal].claim;
        _pays(deal);
        market.claim(claim_);
        _paid(deal);
    }

    /// @notice The requester is content, though it may be wrong.
    function accept(uint256 which) external counted("accept") {
        (bool found, uint256 deal) = _pick(which, Phase.COMMITTED);
        if (!found || _deals[deal].open != 0 || which % 8 != 0) return;
        Claim memory claim_ = _deals[deal].claim;
        _pays(deal);
        vm.prank(claim_.terms.requester);
        market.accept(claim_, "");
        _paid(deal);
    }

    /* CASES BEGIN */

    /// @notice Inside the window nothing stops a challenge, by anybody who brings the bond.
    function challenge(uint256 which, uint256 seed) external counted("challenge") {
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
        _see(seed % 6 == 3 ? bytes32("self-dispute") : bytes32("challenger"));
        ++made;
    }

    function join(uint256 which, uint256 seed) external counted("join") {
        (bool found, uint256 c) = _find(which, CasePhase.OPEN);
        if (!found || _contenders[c].length == 8) return;
        Dispute storage d = _disputes[c];
        (,,,,, uint40 seedBlock) = court.caseOf(idOf(d));
        if (block.number > seedBlock) return;
        Contender memory who = _contender(d.deal, seed);
        if (who.right) who.right = _isRight(d);
        who.answer = _answerOf(d.deal, d.position, who.right);
        bool copies = seed >> 8 & 1 == 1;
        if (copies) (who.shows, who.right) = (false, false);
        who.hidden = copies ? d.file.answer : _hide(idOf(d), who.answer, who.who);
        uint96 bond = _bondOf(d.deal);
        _afford(who.who, bond);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        vm.prank(who.who);
        court.join(file, grounds.demand, grounds.rules, who.hidden);
        _contenders[c].push(who);
        d.locked += bond;
        _see(copies ? bytes32("copier") : bytes32("joiner"));
        ++made;
    }

    function demandLeaves(uint256 which, uint256 seed) external counted("demandLeaves") {
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
        ++made;
    }

    /// @notice Shows a malformed leaf, which ends the deal at once; of any other deal no leaf passes for one.
    function challengeSpec(uint256 which, uint256 seed) external counted("challengeSpec") {
        (bool found, uint256 deal) = _disputable(which, Fault.MALFORMED);
        if (!found || stepsOf(deal) == 1) return;
        bool malformed = _deals[deal].fault == Fault.MALFORMED;
        uint256 position = malformed ? _deals[deal].at : 1 + (seed >> 16) % (stepsOf(deal) - 1);
        Claim memory claim_ = _deals[deal].claim;
        bytes memory call =
            abi.encodeCall(IDisputeCourt.challengeSpec, (claim_, _grounds[deal], _leafProof(deal, position)));
        _pays(deal);
        uint256 burned = market.totalBurned();
        vm.prank(_sealedOr(deal, challenger(seed)));
        (bool done,) = address(court).call(call);
        vm.assertTrue(
            done == malformed, "a SPEC challenge succeeds where a leaf is malformed, and only there"
        );
        ++made;
        if (!done) return;
        uint256 lost = _providerHad - worth(claim_.terms.provider);
        vm.assertEq(lost, claim_.terms.fraudBond, "the fraud bond is lost once");
        vm.assertLe(2 * lost, 5 * (market.totalBurned() - burned), "two fifths burn");
        ++kinds[Kind.SPEC];
        _close(deal, Phase.OVERTURNED);
    }

    function beginAudit(uint256 which) external counted("beginAudit") {
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
        ++made;
    }

    /* CASES GO ON */

    // Each of these prefers cases in the phase that it is named for; where there is none, it is another case's turn.

    function show(uint256 which, uint256 seed) external counted("show") {
        _turn(which, CasePhase.OPEN, seed);
    }

    function draw(uint256 which, uint256 seed) external counted("draw") {
        _turn(which, CasePhase.DRAWING, seed);
    }

    function vote(uint256 which, uint256 seed) external counted("vote") {
        _turn(which, CasePhase.VOTING, seed);
    }

    function reveal(uint256 which, uint256 seed) external counted("reveal") {
        _turn(which, CasePhase.REVEALING, seed);
    }

    function decide(uint256 which, uint256 seed) external counted("decide") {
        _turn(which, CasePhase.DECIDED, seed);
    }

    function answer(uint256 which, uint256 seed) external counted("answer") {
        _turn(which, CasePhase.ASKED, seed);
    }

    function goOn(uint256 which, uint256 seed) external counted("goOn") {
        _turn(which, CasePhase.ANSWERED, seed);
    }

    function _turn(uint256 which, CasePhase preferred, uint256 seed) private {
        if (_openCases.length == 0) return;
        (bool found, uint256 c) = _find(which, preferred);
        if (!found) c = _openCases[which % _openCases.length];
        CasePhase phase = _phaseOf(c);
        if (phase == CasePhase.OPEN) _showOrDraw(c, seed);
        else if (phase == CasePhase.DRAWING) _drawFrom(c, CasePhase.DRAWING);
        else if (phase == CasePhase.VOTING) _voteOrReveal(c, 1 + seed % 15);
        else if (phase == CasePhase.REVEALING) _revealOrResolve(c, 1 + seed % 15);
        else if (phase == CasePhase.DECIDED) _appealOrSettle(c, seed);
        else if (phase == CasePhase.ASKED) _answerOrSettle(c);
        else _goOnOrSettle(c, seed);
    }

    function _showOrDraw(uint256 c, uint256 seed) private {
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
            ++made;
        } else {
            _copies(c, i);
            _mine(1 + _clocks.revealBlocks / 4);
            ++made;
        }
    }

    function _drawFrom(uint256 c, CasePhase phase) private {
        uint256 seedBlock = _timeOf(c);
        _mineTo(seedBlock + 1 + (phase == CasePhase.OPEN ? _clocks.revealBlocks : 0));
        if (!_isIn(c, phase)) return;
        if (block.number > seedBlock + 256) _retarget(c);
        else _draw(c);
        _note(c);
    }

    function _voteOrReveal(uint256 c, uint256 most) private {
        uint256 voteBy = _timeOf(c);
        if (block.timestamp <= voteBy) {
            if (_castAll(c, most) != 0) ++made;
            else _passTo(voteBy + 1);
        } else {
            _revealOrResolve(c, most);
        }
    }

    function _revealOrResolve(uint256 c, uint256 most) private {
        uint256 over = _timeOf(c) + (_isIn(c, CasePhase.VOTING) ? _clocks.revealTime : 0);
        if (block.timestamp <= over && _revealAll(c, most) != 0) {
            ++made;
            return;
        }
        if (!_votesIn(c)) _passTo(over + 1);
        if (!_votesIn(c)) return;
        Dispute storage d = _disputes[c];
        (bool fair, bool enough) = _votes(c);
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        court.resolve(file, grounds, leaf, proof);
        _note(c);
        (CasePhase phase, Verdict verdict,,,,) = court.caseOf(idOf(d));
        if (phase == CasePhase.DECIDED) {
            vm.assertTrue(enough || verdict == Verdict.SPLIT, "fewer than two thirds decide nothing");
            d.fair = fair && block.timestamp + _clocks.appealTime < _lastOf(d.deal);
        } else {
            _see("redraw");
        }
        ++made;
    }

    /// @dev Whoever is wronged appeals, and sometimes one who is not.
    function _appealOrSettle(uint256 c, uint256 seed) private {
        Dispute storage d = _disputes[c];
        (,,, uint8 seats,,) = court.caseOf(idOf(d));
        Grounds memory grounds = _grounds[d.deal];
        bool able = block.timestamp <= _timeOf(c) && seats <= 7 && grounds.rules.quorum == 0;
        if (!able || (d.fair ? seed % 8 != 0 : seed % 8 == 1)) return _settleAfter(c, CasePhase.DECIDED);
        address who = seed & 16 == 0 ? challenger(seed) : puppet(d.file.deal.terms.provider);
        _afford(who, uint256(seats == 3 ? 7 : 15) * grounds.rules.arbiterFee);
        uint256 before = free(who);
        File memory file = d.file;
        vm.prank(who);
        court.appeal(file, grounds);
        d.locked += before - free(who);
        _note(c);
        _see(d.fair ? bytes32("appeal of right") : bytes32("appeal of wrong"));
        ++made;
    }

    function _answerOrSettle(uint256 c) private {
        if (block.timestamp <= _timeOf(c) && _answer(c)) ++made;
        else _settleAfter(c, CasePhase.ASKED);
    }

    function _goOnOrSettle(uint256 c, uint256 seed) private {
        if (block.timestamp <= _timeOf(c) && seed % 8 != 0) {
            _goOn(c);
            ++made;
        } else {
            _settleAfter(c, CasePhase.ANSWERED);
        }
    }

    /// @dev Waits until the phase is over, unless it becomes another one by then.
    function _settleAfter(uint256 c, CasePhase phase) private {
        _passTo(_timeOf(c) + 1);
        if (_isIn(c, phase) && block.timestamp > _timeOf(c)) _settle(c);
    }

    /* CASES END */

    /// @notice Any case that can be ended now is, by a stranger: lapsed ones, and those of deals that have ended.
    function sweep(uint256 which) external counted("sweep") {
        for (uint256 i = 0; i < _openCases.length; ++i) {
            uint256 c = _openCases[addmod(which, i, _openCases.length)];
            if (_isEndable(c)) return _settle(c);
        }
    }

    function payCommittee(uint256 which) external counted("payCommittee") {
        for (uint256 i = 0; i < _disputes.length; ++i) {
            uint256 c = addmod(which, i, _disputes.length);
            if (!_isOwing(c)) continue;
            _payRound(c);
            ++made;
            return;
        }
    }

    /* ARBITERS COME AND GO */

    function collect(uint256 who) external counted("collect") {
        (, uint96 fees,,) = pools.arbiterOf(pool, arbiter(who));
        if (fees == 0) return;
        vm.prank(arbiter(who));
        pools.collect(pool);
        ++made;
    }

    /// @notice One honest arbiter at a time leaves and comes back.
    function rest(uint256 who) external counted("rest") {
        if (temperOf(arbiter(who)) != Temper.HONEST || who % 3 != 0) return;
        (uint32 active,) = pools.poolOf(pool);
        (,, Duty duty, uint40 readyAt) = pools.arbiterOf(pool, arbiter(who));
        if (duty == Duty.ACTIVE) {
            if (active < ARBITERS) return;
            vm.prank(arbiter(who));
            pools.beginLeave(pool);
        } else {
            if (block.timestamp < readyAt) return;
            vm.prank(arbiter(who));
            pools.leave(pool);
            _afford(arbiter(who), ARBITER_STAKE);
            vm.prank(arbiter(who));
            pools.enroll(CLASS, ARBITER_STAKE);
        }
        ++made;
    }

    /// @notice Now and then no arbiter votes at all.
    function strike(uint256 seed) external counted("strike") {
        bool begins = seed % 5 == 0;
        if (begins == striking) return;
        striking = begins;
        ++made;
    }

    /* CLOCKS */

    function pass(uint256 time) external counted("pass") {
        _pass(1 + time % 180);
        ++made;
    }

    function mine(uint256 blocks) external counted("mine") {
        _mine(1 + blocks % 12);
        ++made;
    }

    /// @notice Everybody sleeps, for so long that hashes and clocks run out.
    function sleep(uint256 seed) external counted("sleep") {
        if (seed % 16 != 0) return;
        _waive();
        vm.roll(block.number + 300);
        if (seed & 8 == 0) vm.warp(block.timestamp + _clocks.maxDispute + WINDOW + 1);
        ++made;
    }

    /* WHAT MUST NOT BE POSSIBLE */

    /// @notice Tries to be paid twice, too early, or for somebody else.
    function steal(uint256 which, uint256 seed) external counted("steal") {
        if (_deals.length == 0) return;
        uint256 deal = which % _deals.length;
        Dealing storage d = _deals[deal];
        Claim memory claim_ = d.claim;
        bool due = d.phase == Phase.COMMITTED && d.open == 0 && block.timestamp > _windowEnd(deal);
        if (!due) _refused(address(market), abi.encodeCall(market.claim, (claim_)));
        if (d.phase >= Phase.FINALIZED) {
            vm.prank(claim_.terms.requester);
            _refused(address(market), abi.encodeCall(market.accept, (claim_, "")));
            _refused(
                address(market), abi.encodeCall(market.expire, (claim_.dealId, claim_.terms, address(0)))
            );
        }
        _refused(address(market), abi.encodeCall(market.overrule, (claim_, Phase.OVERTURNED)));
        _refused(address(market), abi.encodeCall(market.pay, (1, STRANGER)));
        if (_disputes.length != 0) _robs(seed % _disputes.length);
        ++made;
    }

    /* THE END */

    /// @notice What a stranger does to end all that is open: it waits once, then calls.
    function endAll() external {
        striking = true;
        _waive();
        vm.warp(block.timestamp + uint256(_clocks.maxDispute) + WINDOW + 1 hours);
        vm.roll(block.number + 300);
        while (_openCases.length != 0) _settle(_openCases[0]);
        for (uint256 c = 0; c < _disputes.length; ++c) {
            while (_isOwing(c)) _payRound(c);
        }
        for (uint256 deal = 0; deal < _deals.length; ++deal) {
            Claim memory claim_ = _deals[deal].claim;
            if (_deals[deal].phase == Phase.ASSIGNED) {
                vm.prank(STRANGER);
                market.expire(claim_.dealId, claim_.terms, address(0));
                _close(deal, Phase.REFUNDED);
            } else if (_deals[deal].phase == Phase.COMMITTED) {
                _pays(deal);
                market.claim(claim_);
                _paid(deal);
            }
        }
    }

    /// @notice All arbiters take what is theirs; afterwards the court must have nothing.
    function leaveAll() external {
        for (uint256 i = 0; i < ARBITERS; ++i) {
            (,, Duty duty,) = pools.arbiterOf(pool, arbiter(i));
            if (duty == Duty.LEAVING) continue;
            vm.prank(arbiter(i));
            pools.beginLeave(pool);
        }
        vm.warp(block.timestamp + _clocks.leaveTime);
        for (uint256 i = 0; i < ARBITERS; ++i) {
            (, uint96 fees,,) = pools.arbiterOf(named, arbiter(i));
            vm.startPrank(arbiter(i));
            pools.leave(pool);
            pools.collect(pool);
            if (fees != 0) pools.collect(named);
            vm.stopPrank();
        }
    }

    /* MONEY AT THE END OF A CASE */

    struct Before {
        uint256 provider;
        uint256 requester;
        uint256 burned;
        uint256[] challengers;
    }

    function _settle(uint256 c) private {
        Dispute storage d = _disputes[c];
        Dealing storage deal = _deals[d.deal];
        Before memory b = _before(c);
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
        ++made;
        if (awaited) return;
        if (verdict == Verdict.MOOT) return _moot(c, b);
        vm.assertTrue(phase != CasePhase.ASKED || verdict != Verdict.LAPSED, "who withholds does not win");
        --deal.open;
        if (verdict == Verdict.UPHELD || verdict == Verdict.LAPSED) {
            if (file.kind == uint8(Kind.AUDIT)) deal.spent = true;
            vm.assertLe(b.provider, worth(file.deal.terms.provider), "who is upheld loses nothing");
        } else {
            if (!d.fair) deal.waived = true;
            _ended(c, verdict, b);
        }
        if (phase == CasePhase.DECIDED && d.fair) {
            (Vote vote_,) = truth(d.deal, file.kind, d.position);
            vm.assertEq(uint256(verdict), uint256(verdictOf(vote_)), "an honest majority finds the truth");
        }
    }

    function _ended(uint256 c, Verdict verdict, Before memory b) private {
        Dispute storage d = _disputes[c];
        Dealing storage deal = _deals[d.deal];
        Terms memory terms = deal.claim.terms;
        uint256 has = worth(terms.provider);
        if (verdict == Verdict.OVERTURNED) {
            vm.assertTrue(deal.fault != Fault.NONE || deal.waived, "who is honest is not overturned");
            vm.assertEq(has + terms.fraudBond, b.provider, "a fraud bond is lost once, and nothing else");
            vm.assertLe(
                2 * uint256(terms.fraudBond),
                5 * (market.totalBurned() - b.burned),
                "whoever takes part, two fifths of a lost bond burn"
            );
            vm.assertLe(b.requester + terms.price, worth(terms.requester), "the requester has its price back");
            if (d.fair) _winners(c, b);
            _close(d.deal, Phase.OVERTURNED);
        } else {
            bool split = verdict == Verdict.SPLIT;
            vm.assertTrue(deal.fault != Fault.NONE || deal.waived, "who is honest is paid whole");
            vm.assertEq(has, b.provider + deal.claim.amount / 2, "half is paid, and no bond is lost");
            _close(d.deal, split ? Phase.SPLIT : Phase.VOID);
        }
    }

    /// @dev Whoever was right and said so has its bond back, and does not pay for being right.
    function _winners(uint256 c, Before memory b) private view {
        Dispute storage d = _disputes[c];
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            Contender storage who = _contenders[c][i];
            bool won = who.right && (who.shown || d.file.kind == uint8(Kind.WITHHELD));
            if (!won) continue;
            uint256 bond = i == 0 ? d.file.bond : _bondOf(d.deal);
            vm.assertLe(b.challengers[i] + bond, worth(who.who), "who is right has its bond back");
        }
    }

    function _moot(uint256 c, Before memory b) private view {
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            uint256 bond = i == 0 ? _disputes[c].file.bond : _bondOf(_disputes[c].deal);
            uint256 has = worth(_contenders[c][i].who);
            vm.assertLe(b.challengers[i] + bond, has, "who was not judged has its bond back");
        }
    }

    function _before(uint256 c) private view returns (Before memory b) {
        Terms storage terms = _disputes[c].file.deal.terms;
        b.provider = worth(terms.provider);
        b.requester = worth(terms.requester);
        b.burned = market.totalBurned();
        b.challengers = new uint256[](_contenders[c].length);
        for (uint256 i = 0; i < b.challengers.length; ++i) {
            b.challengers[i] = worth(_contenders[c][i].who);
        }
    }

    uint256 private _providerHad;
    uint256 private _requesterHad;

    function _pays(uint256 deal) private {
        _providerHad = worth(_deals[deal].claim.terms.provider);
        _requesterHad = worth(_deals[deal].claim.terms.requester);
    }

    function _paid(uint256 deal) private {
        Dealing storage d = _deals[deal];
        Terms storage terms = d.claim.terms;
        vm.assertEq(
            worth(terms.provider), _providerHad + d.claim.amount, "a final result is paid as committed"
        );
        uint256 back = terms.price - d.claim.amount + (d.spent ? 0 : terms.verification);
        vm.assertEq(worth(terms.requester), _requesterHad + back, "the rest goes back");
        _close(deal, Phase.FINALIZED);
    }

    function _close(uint256 deal, Phase end) private {
        _deals[deal].phase = end;
        ++ends[end];
        ++made;
    }

    /* PARTS */

    function _rules(uint256 seed) private view returns (Rules memory) {
        bool exact = seed & 3 != 0;
        bool fixedSet = seed & 12 == 0;
        uint96 fee = uint96(bound(seed >> 4, 0, 4)) * 0.01 ether;
        return Rules({
            class_: uint8(exact ? Class.EXACT : Class.TOLERANCE),
            sealed_: seed >> 8 & 7 == 0,
            quorum: fixedSet ? QUORUM : 0,
            pool: fixedSet ? named : pool,
            comparator: exact ? bytes32(0) : keccak256("comparator"),
            maxStateBytes: 1 << 20,
            stepSeconds: 10,
            arbiterFee: fee,
            auditPpm: 700_000
        });
    }

    function _demand(uint256 seed, Rules memory rules) private pure returns (DemandCore memory) {
        uint256 k = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 4 : 20;
        uint256 digest = uint192(uint256(keccak256(abi.encode(rules))));
        uint256 steps = (digest << 64) | (((seed >> 4) % 9) << 32) | k;
        return DemandCore(keccak256("spec"), keccak256("inputs"), steps);
    }

    function _terms(uint256 seed, Grounds storage grounds) private view returns (Terms memory) {
        uint96 price = uint96(bound(uint256(keccak256(abi.encode(seed))), 0, 10 ether));
        return Terms({
            requester: requester(seed),
            provider: address(0),
            demandDigest: keccak256(abi.encode(grounds.demand)),
            price: price,
            verification: 3 * grounds.rules.arbiterFee,
            fraudBond: seed & 1 == 0 ? 5 * price : price / 3,
            assignBy: uint40(block.timestamp + 60),
            commitBy: uint40(block.timestamp + 600),
            window: WINDOW,
            mode: uint8(Mode.FIRST),
            salt: _deals.length
        });
    }

    function _fault(uint256 seed, uint256 k, uint256 at) private pure returns (Fault fault) {
        fault = Fault(seed % 7 % 6); // in two of seven nothing is wrong
        if (fault == Fault.MALFORMED && at == k) return Fault.WRONG;
        if (fault == Fault.SILENT && k <= Trace.POSTED_STEPS) return Fault.UNSTABLE; // no move is asked of it
    }

    function _send(uint256 deal, Commitment memory c) private returns (bytes32) {
        Claim memory claim_ = _deals[deal].claim;
        DemandCore memory demand = _grounds[deal].demand;
        bytes32[] memory nodes = tree(deal);
        uint256 k = c.stepCount;
        if (k == 1) {
            vm.prank(claim_.terms.provider);
            market.commit(address(0), claim_.terms, demand, claim_.dealId, c);
            return nodes[1];
        }
        bytes32[] memory trace;
        if (k <= Trace.POSTED_STEPS) {
            trace = new bytes32[](k + 1);
            for (uint256 i = 0; i <= k; ++i) {
                trace[i] = nodes[nodes.length / 2 + i];
            }
        } else {
            bytes32[] memory first = proofIn(nodes, 0);
            bytes32[] memory last = proofIn(nodes, k);
            trace = new bytes32[](1 + 2 * first.length);
            trace[0] = nodes[1];
            for (uint256 i = 0; i < first.length; ++i) {
                (trace[1 + i], trace[1 + first.length + i]) = (first[i], last[i]);
            }
        }
        vm.prank(claim_.terms.provider);
        market.commitSteps(address(0), claim_.terms, demand, claim_.dealId, c, trace);
        return nodes[1];
    }

    function _leafProof(uint256 deal, uint256 position) private view returns (LeafProof memory) {
        Dealing storage d = _deals[deal];
        bool at = d.at == position;
        return LeafProof({
            position: position,
            step: firstStepOf(deal) + position + (at && d.fault == Fault.MALFORMED ? 7 : 0),
            stateRoot: stateAt(deal, position, at && d.fault == Fault.WRONG),
            exit: 0,
            stdoutRoot: 0,
            done: 0,
            proof: proofIn(tree(deal), position)
        });
    }

    /// @dev Honest, wrong, silent, the provider itself, the requester, an arbiter.
    function _contender(uint256 deal, uint256 seed) private view returns (Contender memory who) {
        Dealing storage d = _deals[deal];
        uint256 strategy = seed % 6;
        who.who = _sealedOr(deal, challenger(seed >> 4));
        who.shows = strategy != 2;
        bool findable = d.fault != Fault.NONE && d.fault != Fault.SILENT;
        who.right = findable && strategy != 1 && strategy != 2;
        if (_grounds[deal].rules.sealed_) return who;
        if (strategy == 3) who.who = puppet(d.claim.terms.provider);
        if (strategy == 4) who.who = d.claim.terms.requester;
        if (strategy == 5) who.who = arbiter(0);
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
        return right ? rightLeaf(deal, position) : _nonsense(deal);
    }

    function _sealedOr(uint256 deal, address other) private view returns (address) {
        return _grounds[deal].rules.sealed_ ? _deals[deal].claim.terms.requester : other;
    }

    function _bondOf(uint256 deal) private view returns (uint96) {
        return _deals[deal].claim.terms.verification + _clocks.gasAllowance;
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
        file.bond = _brings(who.who, deal);
        who.answer = _answerOf(deal, position, who.right);
        bytes32 id = Files.caseId(file.deal.dealId, file.kind, file.step, file.serial);
        who.hidden = _hide(id, who.answer, who.who);
        if (!withheld) file.answer = who.hidden;
    }

    /// @dev What a new case costs, which is twice as much for each that is open.
    function _brings(address who, uint256 deal) private returns (uint96 bond) {
        bond = _bondOf(deal) << uint96(_deals[deal].open);
        _afford(who, bond);
    }

    function _stake(address who, uint256 needed) private {
        (, uint80 staked, uint80 locked) = market.accountOf(who);
        uint256 unlocked = staked - locked;
        if (unlocked >= needed) return;
        _afford(who, needed - unlocked);
        vm.prank(who);
        market.stake(uint96(needed - unlocked));
    }

    /// @dev One who has nothing of its own to show cannot show what is another's.
    function _copies(uint256 c, uint256 index) private {
        Dispute storage d = _disputes[c];
        (bytes32 leaf, bytes32[] memory proof) = _claimed(d);
        Opening memory opening = Opening(_contenders[c][0].answer, keccak256("guess"));
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        bytes memory call =
            abi.encodeCall(IDisputeCourt.showAnswer, (file, grounds, uint8(index), opening, leaf, proof));
        vm.prank(_contenders[c][index].who);
        _refused(address(court), call);
    }

    function _robs(uint256 c) private {
        Dispute storage d = _disputes[c];
        bytes32 id = idOf(d);
        File memory file = d.file;
        Grounds memory grounds = _grounds[d.deal];
        if (d.ended) {
            _refused(address(court), abi.encodeCall(IDisputeCourt.settle, (file, grounds, _openings(c))));
        } else {
            (uint256 round, uint256 before) = (_roundNumber(c), free(address(court)));
            _refused(
                address(court), abi.encodeCall(IDisputeCourt.payCommittee, (poolOf(d), id, uint8(round)))
            );
            vm.assertEq(before, free(address(court)));
        }
        bytes memory cast = abi.encodeCall(IDisputeCourt.castVote, (poolOf(d), id, 0, SALT));
        vm.prank(STRANGER);
        _refused(address(court), cast);
    }

    function _roundNumber(uint256 c) private view returns (uint256) {
        (,, uint8 round,,,) = court.caseOf(idOf(_disputes[c]));
        return round;
    }

    function _refused(address target, bytes memory call) private {
        (bool done,) = target.call(call);
        vm.assertFalse(done);
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
        ++made;
        if (!lot) return;
        if (d.position == 0) {
            ++verdicts[Verdict.LAPSED];
            _end(c);
        } else {
            ++_deals[d.deal].open;
        }
    }

    /// @dev Whether the lot can be drawn: it falls on no step, or on one of a deal whose window is still open.
    function _drawsLot(uint256 c) private returns (bool) {
        Dispute storage d = _disputes[c];
        (,,,,, uint40 seedBlock) = court.caseOf(idOf(d));
        uint256 lot = uint256(keccak256(abi.encode(Files.LOT, idOf(d), blockhash(seedBlock))));
        if (lot % 1_000_000 >= _grounds[d.deal].rules.auditPpm) return true;
        if (_deals[d.deal].phase != Phase.COMMITTED || block.timestamp > _windowEnd(d.deal)) return false;
        d.position = 1 + (lot / 1_000_000) % stepsOf(d.deal);
        return true;
    }

    function _awaitsLot(Dispute storage d) private view returns (bool) {
        return d.file.kind == uint8(Kind.AUDIT) && d.position == 0;
    }

    /// @dev All who have cast have revealed, or it is too late for it.
    function _votesIn(uint256 c) private view returns (bool) {
        (bytes32 id, bytes32 pool_, uint8 round, uint8 seats) = _roundOf(c);
        (uint256 cast, uint256 revealed) = (0, 0);
        for (uint8 seat = 0; seat < seats; ++seat) {
            (, uint8 state) = court.seatOf(pool_, id, round, seat);
            if (state > 1) ++cast;
            if (state > 2) ++revealed;
        }
        uint256 over = _timeOf(c);
        if (_isIn(c, CasePhase.VOTING)) over += cast == 0 ? 0 : _clocks.revealTime;
        else if (cast == revealed) return true;
        return block.timestamp > over;
    }

    function _retarget(uint256 c) private {
        Dispute storage d = _disputes[c];
        if (_awaitsLot(d)) return _settle(c);
        File memory file = d.file;
        vm.prank(STRANGER);
        court.retarget(file);
        _see("retarget");
        ++made;
    }

    function _openings(uint256 c) private view returns (Opening[] memory openings) {
        (,,,, uint8 challengers,) = court.caseOf(idOf(_disputes[c]));
        openings = new Opening[](challengers);
        for (uint256 i = 0; i < challengers; ++i) {
            if (_contenders[c][i].shown) openings[i] = Opening(_contenders[c][i].answer, SALT);
        }
    }

    /// @dev Whether `settle` ends a case now, without waiting.
    function _isEndable(uint256 c) private view returns (bool) {
        Dispute storage d = _disputes[c];
        (CasePhase phase,,,,, uint40 time) = court.caseOf(idOf(d));
        if (_awaitsLot(d)) return block.number > uint256(time) + 256;
        if (_deals[d.deal].phase >= Phase.FINALIZED) return true;
        if (block.timestamp > _lastOf(d.deal)) return true;
        if (phase == CasePhase.OPEN) {
            return _shown(c) == 0 && block.number > uint256(time) + _clocks.revealBlocks;
        }
        bool timed = phase == CasePhase.DECIDED || phase == CasePhase.ASKED || phase == CasePhase.ANSWERED;
        return timed && block.timestamp > time;
    }

    function _isOwing(uint256 c) private view returns (bool) {
        Dispute storage d = _disputes[c];
        if (!d.ended) return false;
        (address who,) = court.seatOf(poolOf(d), idOf(d), d.paidRounds, 0);
        return who != address(0);
    }

    function _payRound(uint256 c) private {
        Dispute storage d = _disputes[c];
        vm.prank(STRANGER);
        court.payCommittee(poolOf(d), idOf(d), d.paidRounds++);
    }

    function _shown(uint256 c) private view returns (uint256 n) {
        for (uint256 i = 0; i < _contenders[c].length; ++i) {
            if (_contenders[c][i].shown) ++n;
        }
    }

    function _phaseOf(uint256 c) private view returns (CasePhase phase) {
        (phase,,,,,) = court.caseOf(idOf(_disputes[c]));
    }

    function _isIn(uint256 c, CasePhase phase) private view returns (bool) {
        return !_disputes[c].ended && _phaseOf(c) == phase;
    }

    function _timeOf(uint256 c) private view returns (uint256 time) {
        (,,,,, time) = court.caseOf(idOf(_disputes[c]));
    }

    function _windowEnd(uint256 deal) private view returns (uint256 time) {
        (,, time,) = market.slot(_deals[deal].claim.dealId);
    }

    /// @dev When a dispute has lasted too long.
    function _lastOf(uint256 deal) private view returns (uint256) {
        return _windowEnd(deal) + _clocks.maxDispute;
    }

    function _lateFrom(uint256 deal) private view returns (uint256 time) {
        (,, time,) = market.slot(_deals[deal].claim.dealId);
        ++time;
    }

    function _isLate(uint256 deal) private view returns (bool) {
        return block.timestamp >= _lateFrom(deal);
    }

    function _openDeals() private view returns (uint256 n) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            if (_deals[i].phase < Phase.FINALIZED) ++n;
        }
    }

    function _pick(uint256 which, Phase phase) private view returns (bool found, uint256 i) {
        for (uint256 j = 0; j < _deals.length; ++j) {
            i = addmod(which, j, _deals.length);
            if (_deals[i].phase == phase) return (true, i);
        }
    }

    /// @dev A committed deal inside its window, rather one with this fault, while this handler takes more cases.
    function _disputable(uint256 which, Fault fault) private view returns (bool found, uint256 deal) {
        if (_openCases.length >= MOST_CASES) return (false, 0);
        for (uint256 j = 0; j < _deals.length; ++j) {
            uint256 i = addmod(which, j, _deals.length);
            if (_deals[i].phase != Phase.COMMITTED || block.timestamp > _windowEnd(i)) continue;
            (found, deal) = (true, i);
            if (_deals[i].fault == fault) break;
        }
    }

    function _find(uint256 which, CasePhase phase) private view returns (bool found, uint256 c) {
        for (uint256 j = 0; j < _openCases.length; ++j) {
            c = _openCases[addmod(which, j, _openCases.length)];
            if (_phaseOf(c) == phase) return (true, c);
        }
    }

    /// @dev Nobody does its duty in what is open now, but what is decided already.
    function _waive() private {
        for (uint256 i = 0; i < _openCases.length; ++i) {
            if (_phaseOf(_openCases[i]) == CasePhase.DECIDED) continue;
            _disputes[_openCases[i]].fair = false;
            _deals[_disputes[_openCases[i]].deal].waived = true;
        }
    }

    function _see(bytes32 what) private {
        ++seen[what];
    }
}
