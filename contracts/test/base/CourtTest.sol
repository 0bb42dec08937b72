// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IPools} from "../../src/interfaces/IPools.sol";
import {Files} from "../../src/libraries/Files.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {
    CasePhase,
    CourtClocks,
    File,
    Grounds,
    Kind,
    Opening,
    Statement,
    Verdict,
    Vote
} from "../../src/types/Case.sol";
import {Claim, Commitment, DemandCore, Mode, Terms} from "../../src/types/Deal.sol";
import {Class, Rules} from "../../src/types/Rules.sol";
import {Pairing} from "./Pairing.sol";

/// @notice A market with its court, seven arbiters on duty, and a committed deal that can be challenged.
abstract contract CourtTest is Pairing {
    uint96 internal constant FEE = VERIFICATION / 3;
    uint96 internal constant GAS = 0.02 ether;
    uint96 internal constant BOND = VERIFICATION + GAS;
    uint96 internal constant ARBITER_STAKE = 100 ether;
    uint32 internal constant JOIN_BLOCKS = 3;
    uint32 internal constant REVEAL_BLOCKS = 20;
    uint32 internal constant VOTE_TIME = 5 minutes;
    uint32 internal constant REVEAL_TIME = 3 minutes;
    uint32 internal constant APPEAL_TIME = 4 minutes;
    uint32 internal constant ANSWER_TIME = 6 minutes;
    uint32 internal constant MAX_DISPUTE = 30 days;
    uint32 internal constant STEP_SECONDS = 30;
    uint256 internal constant ARBITERS = 7;
    bytes32 internal constant SALT = keccak256("salt");
    bytes32 internal constant RIGHT = keccak256("the leaf as it should be");
    string internal constant CLASS = "x86_64-v3";
    bytes32 internal constant POOL = keccak256("x86_64-v3");

    IDisputeCourt internal court;
    IPools internal pools;
    Party internal challenger = _named("challenger");
    Party internal other = _named("other challenger");
    address[] internal arbiters;
    Rules internal rules;

    function setUp() public virtual override {
        super.setUp();
        vm.roll(1_000);
        court = deployCourt(courtClocks());
        pools = court.pools();
        rules = newRules(Class.EXACT);
        deposit(requester.addr, FREE);
        deposit(provider.addr, STAKE);
        vm.prank(provider.addr);
        market.stake(STAKE);
        deposit(challenger.addr, FREE);
        deposit(other.addr, FREE);
        for (uint256 i = 0; i < ARBITERS; ++i) {
            addArbiter(i, ARBITER_STAKE);
        }
    }

    function courtClocks() internal pure virtual returns (CourtClocks memory clocks) {
        clocks.joinBlocks = JOIN_BLOCKS;
        clocks.revealBlocks = REVEAL_BLOCKS;
        clocks.voteTime = VOTE_TIME;
        clocks.revealTime = REVEAL_TIME;
        clocks.appealTime = APPEAL_TIME;
        clocks.answerTime = ANSWER_TIME;
        clocks.maxDispute = MAX_DISPUTE;
        clocks.minArbiters = 7;
        clocks.leaveTime = 7 days;
        clocks.minStake = 1 ether;
        clocks.gasAllowance = GAS;
    }

    function newRules(Class class_) internal pure returns (Rules memory) {
        return Rules({
            class_: uint8(class_),
            sealed_: false,
            quorum: 0,
            pool: POOL,
            comparator: class_ == Class.EXACT ? bytes32(0) : keccak256("comparator"),
            maxStateBytes: 10 << 20,
            stepSeconds: STEP_SECONDS,
            arbiterFee: FEE,
            auditPpm: 1_000_000
        });
    }

    function addArbiter(uint256 i, uint96 amount) internal {
        address arbiter = arbiterAt(i);
        arbiters.push(arbiter);
        deposit(arbiter, amount);
        vm.prank(arbiter);
        pools.enroll(CLASS, amount);
    }

    function arbiterAt(uint256 i) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("arbiter", i)))));
    }

    /* DEALS AND CASES */

    function core() internal view returns (DemandCore memory d) {
        d = demand(1);
        d.steps = (uint256(uint192(uint256(keccak256(abi.encode(rules))))) << 64) | 1;
    }

    /// @dev A committed deal of one step whose result may be disputed, and its grounds.
    function disputable() internal returns (Claim memory, Grounds memory) {
        return disputableOn(newTerms(Mode.LOCK), PRICE);
    }

    function disputableOn(Terms memory terms, uint96 amount)
        internal
        returns (Claim memory deal, Grounds memory grounds)
    {
        grounds.demand = core();
        grounds.rules = rules;
        terms.demandDigest = keccak256(abi.encode(grounds.demand));
        bytes32 dealId = assignAs(provider.addr, terms);
        Commitment memory c = newCommitment(amount);
        vm.prank(provider.addr);
        market.commit(address(0), terms, grounds.demand, dealId, c);
        bytes32 root = traceRoot(dealId, demand(1), c);
        grounds.result = Statement(root, c.resultRoot, c.deliveryRoot, 0, 1, 0);
        deal = Claim(terms, address(0), amount, commitmentDigest(root, c), dealId);
    }

    /// @dev The committed leaf after the step, and its proof.
    function claimed(Claim memory deal, Grounds memory grounds)
        internal
        pure
        returns (bytes32 leaf, bytes32[] memory proof)
    {
        leaf = Trace.leaf(deal.dealId, 1, grounds.result.resultRoot, 0, 0, 1);
        proof = new bytes32[](1);
        proof[0] = Trace.leaf(deal.dealId, 0, grounds.demand.inputRoot, 0, 0, 0);
    }

    /// @dev The committed leaf that a case is about, and its proof.
    function leafOf(File memory file, Grounds memory grounds)
        internal
        view
        virtual
        returns (bytes32, bytes32[] memory)
    {
        return claimed(file.deal, grounds);
    }

    function hiddenAnswer(bytes32 caseId, bytes32 answer, address by) internal pure returns (bytes32) {
        return keccak256(abi.encode(Files.ANSWER, caseId, answer, SALT, by));
    }

    function challengeBy(address by, Claim memory deal, Grounds memory grounds, Kind kind, bytes32 answer)
        internal
        returns (File memory file)
    {
        file = File(deal, uint8(kind), 0, 0, by, 0, 0);
        open(file, grounds, answer);
    }

    /// @dev Opens the case that `file` describes, and fills in its bond and hidden answer.
    function open(File memory file, Grounds memory grounds, bytes32 answer) internal {
        file.answer = hiddenAnswer(idOf(file), answer, file.opener);
        uint256 before = freeOf(file.opener);
        vm.prank(file.opener);
        court.challenge(
            file.deal, grounds.demand, grounds.rules, Kind(file.kind), file.step, file.serial, file.answer
        );
        file.bond = uint96(before - freeOf(file.opener));
    }

    function joinBy(address by, File memory file, Grounds memory grounds, bytes32 answer) internal {
        bytes32 hidden = hiddenAnswer(idOf(file), answer, by);
        vm.prank(by);
        court.join(file, grounds.demand, grounds.rules, hidden);
    }

    function idOf(File memory file) internal pure returns (bytes32) {
        return Files.caseId(file.deal.dealId, file.kind, file.step, file.serial);
    }

    function passSeedBlock(bytes32 caseId) internal {
        (,,,,, uint40 seedBlock) = court.caseOf(caseId);
        vm.roll(uint256(seedBlock) + 1);
        vm.setBlockhash(seedBlock, keccak256(abi.encode("block", seedBlock)));
    }

    function show(File memory file, Grounds memory grounds, bytes32 answer) internal {
        passSeedBlock(idOf(file));
        showBy(file.opener, 0, file, grounds, answer);
    }

    /// @dev Shows the answer of one challenger of several; the block that draws is mined.
    function showBy(address by, uint8 index, File memory file, Grounds memory grounds, bytes32 answer)
        internal
    {
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.prank(by);
        court.showAnswer(file, grounds, index, Opening(answer, SALT), leaf, proof);
    }

    function opened(bytes32 answer) internal returns (File memory file, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = disputable();
        file = challengeBy(challenger.addr, deal, grounds, Kind.STEP, answer);
    }

    /// @dev A case whose committee of three is drawn.
    function voting(bytes32 answer) internal returns (File memory file, Grounds memory grounds) {
        (file, grounds) = opened(answer);
        show(file, grounds, answer);
    }

    function roundOf(bytes32 caseId) internal view returns (uint8 round, uint8 seats) {
        (,, round, seats,,) = court.caseOf(caseId);
    }

    function voteOf(bytes32 caseId, uint8 round, Vote vote, bytes32 leaf, address arbiter)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(Files.VOTE, caseId, uint256(round), vote, leaf, SALT, arbiter));
    }

    function cast(bytes32 caseId, uint8 seat, Vote vote, bytes32 leaf) internal {
        (uint8 round,) = roundOf(caseId);
        (address arbiter,) = court.seatOf(rules.pool, caseId, round, seat);
        vm.prank(arbiter);
        court.castVote(rules.pool, caseId, seat, voteOf(caseId, round, vote, leaf, arbiter));
    }

    function reveal(bytes32 caseId, uint8 seat, Vote vote, bytes32 leaf) internal {
        (uint8 round,) = roundOf(caseId);
        (address arbiter,) = court.seatOf(rules.pool, caseId, round, seat);
        vm.prank(arbiter);
        court.revealVote(rules.pool, caseId, seat, vote, leaf, SALT);
    }

    /// @dev Every seat of the round finds another leaf.
    function disagree(bytes32 caseId) internal {
        (, uint8 seats) = roundOf(caseId);
        for (uint8 i = 0; i < seats; ++i) {
            cast(caseId, i, Vote.OVERTURN, keccak256(abi.encode(i)));
        }
        for (uint8 i = 0; i < seats; ++i) {
            reveal(caseId, i, Vote.OVERTURN, keccak256(abi.encode(i)));
        }
    }

    /// @dev All seats of the round vote alike.
    function allVote(bytes32 caseId, Vote vote, bytes32 leaf) internal {
        (, uint8 seats) = roundOf(caseId);
        for (uint8 i = 0; i < seats; ++i) {
            cast(caseId, i, vote, leaf);
        }
        for (uint8 i = 0; i < seats; ++i) {
            reveal(caseId, i, vote, leaf);
        }
    }

    /// @dev The committee finds one and the same, an overturned leaf being the right one, and is counted.
    function agree(File memory file, Grounds memory grounds, Vote vote) internal {
        (bytes32 leaf,) = leafOf(file, grounds);
        if (vote != Vote.UPHOLD) leaf = vote == Vote.OVERTURN ? RIGHT : bytes32(0);
        allVote(idOf(file), vote, leaf);
        resolve(file, grounds);
    }

    function resolve(File memory file, Grounds memory grounds) internal {
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        court.resolve(file, grounds, leaf, proof);
    }

    function draw(File memory file, Grounds memory grounds) internal {
        passSeedBlock(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        court.draw(file, grounds, leaf, proof);
    }

    function settle(File memory file, Grounds memory grounds, bytes32 answer) internal {
        (,,,, uint8 challengers,) = court.caseOf(idOf(file));
        bytes32[] memory answers = new bytes32[](challengers);
        if (challengers != 0) answers[0] = answer;
        settleAll(file, grounds, answers);
    }

    /// @dev Settles a case of several challengers who gave these answers; zero where none was shown.
    function settleAll(File memory file, Grounds memory grounds, bytes32[] memory answers) internal {
        passClock(idOf(file));
        Opening[] memory openings = new Opening[](answers.length);
        for (uint256 i = 0; i < answers.length; ++i) {
            if (answers[i] != 0) openings[i] = Opening(answers[i], SALT);
        }
        court.settle(file, grounds, openings);
    }

    /// @dev Pays every committee that a closed case had, and says how many.
    function payAll(File memory file) internal returns (uint8 rounds) {
        while (hasSeats(idOf(file), rounds)) {
            court.payCommittee(rules.pool, idOf(file), rounds++);
        }
    }

    function hasSeats(bytes32 caseId, uint8 round) private view returns (bool) {
        (, uint8 state) = court.seatOf(rules.pool, caseId, round, 0);
        return state != 0;
    }

    /// @dev To the first second after the clock of the case's phase.
    function passClock(bytes32 caseId) internal {
        (,,,,, uint40 time) = court.caseOf(caseId);
        if (block.timestamp <= time) vm.warp(uint256(time) + 1);
    }

    function clockOf(bytes32 caseId) internal view returns (uint40 time) {
        (,,,,, time) = court.caseOf(caseId);
    }

    /// @dev Judged by one committee that agrees, and settled.
    function judged(Vote vote, bytes32 leaf, bytes32 answer)
        internal
        returns (File memory file, Grounds memory grounds)
    {
        (file, grounds) = voting(answer);
        if (vote == Vote.UPHOLD) (leaf,) = claimed(file.deal, grounds);
        allVote(idOf(file), vote, leaf);
        resolve(file, grounds);
        settle(file, grounds, answer);
    }

    /* WHAT THE CHAIN HOLDS */

    function assertCase(File memory file, CasePhase expectedPhase, Verdict expected) internal view {
        (CasePhase phase, Verdict verdict,,,,) = court.caseOf(idOf(file));
        vm.assertEq(uint256(phase), uint256(expectedPhase));
        vm.assertEq(uint256(verdict), uint256(expected));
    }

    function feesOf(address arbiter) internal view returns (uint256 fees) {
        (, fees,,) = pools.arbiterOf(rules.pool, arbiter);
    }

    function allFees() internal view returns (uint256 sum) {
        for (uint256 i = 0; i < arbiters.length; ++i) {
            sum += feesOf(arbiters[i]);
        }
    }

    /// @dev The court owes no more than it has: arbiters' stakes and fees. What is above is `spare`.
    function assertCourtHolds(uint256 spare) internal view {
        uint256 owed = spare;
        for (uint256 i = 0; i < arbiters.length; ++i) {
            (uint96 stake, uint96 fees,,) = pools.arbiterOf(POOL, arbiters[i]);
            owed += uint256(stake) + fees;
        }
        vm.assertEq(freeOf(address(court)), owed);
    }

    /// @dev No money is in a deal or a case; all there is belongs to somebody or is burned.
    function assertAllAccounted() internal view {
        uint256 sum = market.totalBurned() + freeOf(address(court));
        address[5] memory parties =
            [requester.addr, provider.addr, challenger.addr, other.addr, stranger.addr];
        for (uint256 i = 0; i < parties.length; ++i) {
            sum += freeOf(parties[i]) + stakeOf(parties[i]);
            vm.assertEq(lockedOf(parties[i]), 0);
        }
        for (uint256 i = 0; i < arbiters.length; ++i) {
            sum += freeOf(arbiters[i]);
        }
        vm.assertEq(token.balanceOf(address(market)), sum);
    }

    function _named(string memory name) private pure returns (Party memory) {
        uint256 key = uint256(keccak256(bytes(name)));
        return Party(key, vm.addr(key));
    }
}
