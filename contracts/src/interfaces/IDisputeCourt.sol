// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    CasePhase,
    CourtClocks,
    File,
    Grounds,
    Kind,
    LeafProof,
    Opening,
    Statement,
    Verdict,
    Vote
} from "../types/Case.sol";
import {Claim, DemandCore} from "../types/Deal.sol";
import {Rules} from "../types/Rules.sol";
import {ICourtPurse} from "./ICourtPurse.sol";
import {IDealMarket} from "./IDealMarket.sol";
import {IPools} from "./IPools.sol";

/// @notice Judges disputed results of one market's deals.
/// @dev A case is one storage slot; everything else travels in calldata and is compared with the hash in it. Its id is
/// keccak256(abi.encode(dealId, kind, step, serial)). Money lies in the court's own account in the market: bonds, appeals,
/// arbiters' stakes and fees. It leaves by credits to free balances only, so that no receiver can stop anything. Wherever
/// a provider or arbiter must be the sender, a hot key of its wallet may be.
///
/// Hidden: an answer as keccak256(abi.encode(ANSWER, caseId, answer, salt, challenger)), a vote as
/// keccak256(abi.encode(VOTE, caseId, round, vote, leaf, salt, arbiter)), with ANSWER = keccak256("capanode.answer.1"), VOTE =
/// keccak256("capanode.vote.1"). A challenger's answer is the leaf after the step as it computed it, in class EXACT; in every
/// other case any value but the committed leaf, which says no more than "differs".
interface IDisputeCourt is ICourtPurse {
    /// @param seedBlock The block whose hash draws arbiters; zero when none is needed.
    event Challenged(
        bytes32 indexed caseId,
        bytes32 indexed dealId,
        address indexed opener,
        uint8 kind,
        uint32 step,
        uint32 serial,
        uint96 bond,
        bytes32 answer,
        uint40 seedBlock
    );
    event Joined(
        bytes32 indexed caseId, address indexed challenger, uint8 index, uint96 bond, bytes32 answer
    );
    event AnswerShown(
        bytes32 indexed caseId, address indexed challenger, uint8 index, bytes32 answer, bytes32 salt
    );
    /// @notice A committee will be drawn by the hash of this block.
    event Drawing(bytes32 indexed caseId, uint8 round, uint8 seats, uint40 seedBlock);
    /// @param step Of an AUDIT, the step chosen by lot.
    event Drawn(
        bytes32 indexed caseId,
        bytes32 indexed pool,
        uint8 round,
        uint32 step,
        bytes32 claimedLeaf,
        uint40 voteBy,
        address[] arbiters
    );
    event VoteCast(bytes32 indexed caseId, uint8 round, uint8 seat);
    event VoteRevealed(bytes32 indexed caseId, uint8 round, uint8 seat, uint8 vote, bytes32 leaf);
    /// @param leaf On which the committee agreed.
    event Resolved(bytes32 indexed caseId, uint8 round, uint8 verdict, bytes32 leaf, uint40 appealBy);
    event Appealed(bytes32 indexed caseId, address indexed appellant, uint8 round, uint96 amount);
    /// @notice The provider must show what lies below `node` until `deadline`.
    event Asked(bytes32 indexed caseId, bytes32 node, uint8 height, uint32 index, uint40 deadline);
    event Answered(bytes32 indexed caseId, bytes32[] nodes, uint8 height, uint32 index, uint40 deadline);
    /// @notice A forced reveal has come down to a leaf, and a case about a step goes on with its bond.
    event StepNamed(bytes32 indexed caseId, bytes32 indexed stepCaseId);
    /// @param fee What each coherent seat earns, and what each other one loses.
    event Settled(
        bytes32 indexed caseId,
        bytes32 indexed dealId,
        uint8 verdict,
        uint96 fee,
        uint96 bounty,
        uint96 burned
    );
    event CommitteePaid(bytes32 indexed caseId, uint8 round, uint96 burned);

    /// @notice The case is not in a phase from which this call leads on.
    error WrongCasePhase(bytes32 caseId, CasePhase phase);
    /// @notice What was passed is not what the case's slot binds.
    error FileMismatch(bytes32 caseId);
    /// @notice What was passed is not what the deal's terms and commitment bind.
    error GroundsMismatch(bytes32 dealId);
    /// @notice The deal's class is none, or the case is of a kind that this call does not open.
    error NotChallengeable(bytes32 dealId);
    /// @notice The deal is sealed: nobody but its requester may challenge.
    error SealedDeal(address requester);
    /// @notice The committed trace has no such step.
    error NoSuchStep(uint256 step);
    /// @notice The proof does not lead to the committed root.
    error BadProof();
    /// @notice The leaf says nothing that is forbidden.
    error NoViolation();
    /// @notice This does not open what was hidden.
    error BadOpening();
    /// @notice A case takes at most 8 challengers.
    error TooManyChallengers();
    /// @notice The clock for this has run out.
    error ClockOver(uint256 clock);
    /// @notice The clock for this is still running.
    error ClockRunning(uint256 clock);
    /// @notice The hash of the block is not to be had yet, or no more: retarget.
    error NoSeed(uint256 seedBlock);
    /// @notice The seat is not this sender's, or not in the state that this call starts from.
    error NotYourSeat(uint8 seat);
    /// @notice The pool has too few arbiters who are no party to the case.
    error TooFewArbiters(bytes32 pool);
    /// @notice No appeal leads further.
    error NoFurtherAppeal();
    /// @notice No committee of this pool has judged this round, or it has its pay.
    error NothingToPay(bytes32 caseId, uint8 round);
    /// @notice This market has another court.
    error NotPaired(address market);
    /// @notice The clocks cannot work.
    error BadClocks();

    /// @notice Opens a case about a step or about data, and locks the sender's bond: V plus the gas allowance, doubled for
    /// each case that is open against the deal.
    /// @dev Until the end of the window. `answer` is hidden. Two transactions: `showAnswer` follows.
    function challenge(
        Claim calldata deal,
        DemandCore calldata demand,
        Rules calldata rules,
        Kind kind,
        uint32 step,
        uint32 serial,
        bytes32 answer
    ) external returns (bytes32 caseId);

    /// @notice Joins a case that can still be joined, with a bond that is not doubled and an answer of one's own.
    /// @dev While the block that draws is not mined.
    function join(File calldata file, DemandCore calldata demand, Rules calldata rules, bytes32 answer)
        external;

    /// @notice Shows the answer of challenger number `index` (0 is the opener), and draws the committee if it was the last.
    /// @dev From the block after the seed block on, for `revealBlocks`. `claimed` is the leaf after the step as committed,
    /// with its proof; zero and empty in a DATA case. Sender: that challenger.
    function showAnswer(
        File calldata file,
        Grounds calldata grounds,
        uint8 index,
        Opening calldata opening,
        bytes32 claimed,
        bytes32[] calldata proof
    ) external;

    /// @notice Draws the committee of a case whose answers are shown, or of the next round. Anyone may call it.
    function draw(File calldata file, Grounds calldata grounds, bytes32 claimed, bytes32[] calldata proof)
        external;

    /// @notice Chooses a new block where the hash of the last one is gone. Anyone may call it.
    function retarget(File calldata file) external;

    /// @notice Casts a hidden vote.
    function castVote(bytes32 pool, bytes32 caseId, uint8 seat, bytes32 hiddenVote) external;

    /// @notice Reveals a vote, once all are cast or the time for casting is over.
    function revealVote(bytes32 pool, bytes32 caseId, uint8 seat, Vote vote, bytes32 leaf, bytes32 salt)
        external;

    /// @notice Counts a round, once all votes are revealed or the time is over: a verdict, another draw, or none.
    /// Anyone may call it.
    function resolve(File calldata file, Grounds calldata grounds, bytes32 claimed, bytes32[] calldata proof)
        external;

    /// @notice Pays for a larger committee; what it costs comes back when the verdict changes. Anyone may call it.
    function appeal(File calldata file, Grounds calldata grounds) external;

    /// @notice Moves the money by a verdict that can no longer be appealed, or ends a case whose clock is over.
    /// Anyone may call it.
    /// @param openings What each challenger has shown, by index.
    function settle(File calldata file, Grounds calldata grounds, Opening[] calldata openings) external;

    /// @notice Pays and penalises the arbiters of one round of a closed case, once. Anyone may call it.
    function payCommittee(bytes32 pool, bytes32 caseId, uint8 round) external;

    /// @notice Shows a leaf that says what no leaf may: a wrong number, an end before the last step. Ends the deal in
    /// this call; no bond, no committee.
    function challengeSpec(Claim calldata deal, Grounds calldata grounds, LeafProof calldata leaf) external;

    /// @notice Demands the leaves of a trace that were not published, from the root downwards. Bond as for `challenge`.
    function demandLeaves(Claim calldata deal, Grounds calldata grounds, uint32 serial)
        external
        returns (bytes32 caseId);

    /// @notice Shows the up to 8 nodes three levels below the one asked for. Sender: provider.
    function answerLeaves(File calldata file, bytes32[] calldata nodes) external;

    /// @notice Asks on below node number `child` of the last answer. Sender: opener.
    function descend(File calldata file, bytes32[] calldata nodes, uint8 child) external;

    /// @notice Goes on from a shown leaf with a case about the step that led to it, with the same bond; the window
    /// need not be open any more. Sender: opener.
    /// @param child Number of the leaf among `nodes`, the last answer.
    /// @param answer Hidden for the id of the new case.
    function nameStep(
        File calldata file,
        Grounds calldata grounds,
        bytes32[] calldata nodes,
        uint8 child,
        uint32 serial,
        bytes32 answer
    ) external returns (bytes32 stepCaseId);

    /// @notice Draws the lot whether this result may be audited, by the hash of a block to come; once for a deal.
    /// @dev Anyone may call it (of a sealed deal, its requester). `draw` opens the audit if the lot falls on it, until the
    /// end of the window.
    function beginAudit(Claim calldata deal, DemandCore calldata demand, Rules calldata rules)
        external
        returns (bytes32 caseId);

    /// @notice A case by its id.
    /// @param time A block number in OPEN and DRAWING, else when the phase's clock is over.
    function caseOf(bytes32 caseId)
        external
        view
        returns (CasePhase phase, Verdict verdict, uint8 round, uint8 seats, uint8 challengers, uint40 time);

    /// @notice Who has a seat, and whether it has cast (1) or revealed (2); zeros beyond the last seat and once paid.
    function seatOf(bytes32 pool, bytes32 caseId, uint8 round, uint8 seat)
        external
        view
        returns (address arbiter, uint8 state);

    /// @notice The id of a case.
    function caseIdOf(bytes32 dealId, Kind kind, uint32 step, uint32 serial) external pure returns (bytes32);

    /// @notice Where its arbiters stake, made with it.
    function pools() external view returns (IPools);

    /// @notice The market whose deals it judges, and where its money lies.
    function market() external view returns (IDealMarket);
}
