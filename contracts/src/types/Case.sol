// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, DemandCore} from "./Deal.sol";
import {Rules} from "./Rules.sol";

/// @notice What is said to be wrong with a result; `File.kind` holds one of these.
/// @dev STEP: executing `step` from the committed state gives another leaf. DATA: the bytes of the state after `step` cannot
/// be had. SPEC: a leaf says what no leaf may say. WITHHELD: the leaves were not published. AUDIT: nothing yet; the
/// requester pays for a look at one step, chosen by lot.
enum Kind {
    STEP,
    DATA,
    SPEC,
    WITHHELD,
    AUDIT
}

/// @notice Where a case stands.
/// @dev OPEN: challengers join, then show their answers. DRAWING: waits for the block whose hash draws arbiters. VOTING and
/// REVEALING: the arbiters' turn. DECIDED: may be appealed. ASKED: the provider must show leaves. ANSWERED: the challenger
/// must go on.
enum CasePhase {
    NONE,
    OPEN,
    DRAWING,
    VOTING,
    REVEALING,
    DECIDED,
    ASKED,
    ANSWERED,
    CLOSED
}

/// @notice What an arbiter found.
/// @dev UPHOLD carries the committed leaf. OVERTURN carries the recomputed leaf in class EXACT, else zero. UNREPRODUCIBLE:
/// executing the step gives now this, now that. UNAVAILABLE: the bytes could not be had in time.
enum Vote {
    NONE,
    UPHOLD,
    OVERTURN,
    UNREPRODUCIBLE,
    UNAVAILABLE
}

/// @notice What came of a case. LAPSED: nobody showed an answer. MOOT: another case had ended the deal.
enum Verdict {
    NONE,
    UPHELD,
    OVERTURNED,
    VOID,
    SPLIT,
    LAPSED,
    MOOT
}

/// @notice A case as its slot binds it; it travels in calldata.
struct File {
    Claim deal;
    /// @dev A `Kind`.
    uint8 kind;
    /// @dev Number of the step, counted as in leaves: from the demand's first step.
    uint32 step;
    /// @dev Free choice, so that a case about the same step that can no longer be joined stops nobody.
    uint32 serial;
    /// @dev Zero in an AUDIT.
    address opener;
    uint96 bond;
    /// @dev The opener's hidden answer; zero where there is none to hide.
    bytes32 answer;
}

/// @notice What the commitment digest of a deal is over.
struct Statement {
    bytes32 traceRoot;
    bytes32 resultRoot;
    bytes32 deliveryRoot;
    bytes32 leavesCid;
    uint256 stepCount;
    uint256 status;
}

/// @notice What the terms of a deal bind by digests only.
struct Grounds {
    DemandCore demand;
    Rules rules;
    Statement result;
}

/// @notice A challenger's answer with what hid it; zeros from one who has shown none.
struct Opening {
    bytes32 answer;
    bytes32 salt;
}

/// @notice A leaf at its place: what `Trace.leaf` hashes, but for the deal id, and the proof for leaf number `position`.
struct LeafProof {
    uint256 position;
    uint256 step;
    bytes32 stateRoot;
    uint256 exit;
    bytes32 stdoutRoot;
    uint256 done;
    bytes32[] proof;
}

/// @notice The court's times in seconds unless named otherwise, its numbers and amounts; they never change.
struct CourtClocks {
    /// @dev Blocks from opening to the block whose hash draws; joining is possible until it is mined.
    uint32 joinBlocks;
    /// @dev Blocks from then on for showing answers, at most 192, so that the hash is still to be had.
    uint32 revealBlocks;
    /// @dev Arbiters' time to vote, besides two executions of the step and a second for each MiB of state.
    uint32 voteTime;
    /// @dev Arbiters' time to reveal their votes.
    uint32 revealTime;
    uint32 appealTime;
    /// @dev For each move of a forced reveal, the provider's and the challenger's.
    uint32 answerTime;
    /// @dev A deal whose dispute lasts longer after its window is split.
    uint32 maxDispute;
    /// @dev Age from which on a stake is drawn.
    uint32 minAge;
    /// @dev From the end of duty to the stake's release.
    uint32 leaveTime;
    /// @dev Arbiters that a pool needs before a deal may rely on it.
    uint32 minArbiters;
    /// @dev Least stake of an arbiter.
    uint96 minStake;
    /// @dev What one party's transactions in a case are reckoned to cost, in base units of the token.
    uint96 gasAllowance;
}
