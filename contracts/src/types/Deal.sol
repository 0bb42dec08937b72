// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Where a deal stands; a deal never leaves FINALIZED, REFUNDED, CANCELLED, OVERTURNED, VOID or SPLIT.
enum Phase {
    NONE,
    ANNOUNCED,
    ASSIGNED,
    COMMITTED,
    CHALLENGED,
    FINALIZED,
    REFUNDED,
    CANCELLED,
    OVERTURNED,
    VOID,
    SPLIT
}

/// @notice How a deal comes about; `Terms.mode` holds one of these.
/// @dev DIRECT: committed at once, paid from an earmark. LOCK: assigned by a signed award. AWARD: announced on chain,
/// the requester awards it. FIRST: announced on chain at a posted price, the first staked provider takes it.
enum Mode {
    DIRECT,
    LOCK,
    AWARD,
    FIRST
}

/// @notice What requester and provider agree on. Times are seconds since 1970, amounts base units of the token.
/// @dev Signed as EIP-712 `Award`, or announced as `Announcement`, fields in this order.
struct Terms {
    address requester;
    /// @dev Zero in an announcement.
    address provider;
    /// @dev keccak256(abi.encode(DemandCore)).
    bytes32 demandDigest;
    /// @dev What is locked for the deal, and the most that a commitment may claim; in an announcement, the cap.
    uint96 price;
    /// @dev Deposit of the requester that would pay arbiters; it comes back when nobody challenges.
    uint96 verification;
    /// @dev Part of the provider's stake locked until the deal is final.
    uint96 fraudBond;
    uint40 assignBy;
    uint40 commitBy;
    /// @dev Seconds between commit and claim.
    uint32 window;
    /// @dev A `Mode`.
    uint8 mode;
    /// @dev Free choice that makes the deal id unique; in an award for an announced deal, the deal id.
    uint256 salt;
}

/// @notice The part of a demand that the chain looks into at commit.
struct DemandCore {
    bytes32 specDigest;
    bytes32 inputRoot;
    /// @dev rulesDigest << 64 | firstStep << 32 | stepLimit, see `Rules`.
    uint256 steps;
}

/// @notice What the provider states about its result.
struct Commitment {
    /// @dev Root of the plain result.
    bytes32 resultRoot;
    /// @dev Root of the bytes as served if they are sealed. Zero stands for `resultRoot`, which costs 350 gas less than to
    /// repeat it; digest and event hold the root itself.
    bytes32 deliveryRoot;
    /// @dev Zero unless the spec declares standard output deterministic.
    bytes32 stdoutRoot;
    /// @dev Digest in the CID of the published leaf list; zero for one step.
    bytes32 leavesCid;
    uint32 stepCount;
    /// @dev Exit code of the last step.
    uint8 status;
    /// @dev What the provider asks for, at most the price.
    uint96 amount;
}

/// @notice A committed deal as its slot binds it.
/// @dev The first four fields lie as they are hashed. The deal id comes last, where it makes `claim` cheap to dispatch.
struct Claim {
    /// @dev With provider and agreed price filled in.
    Terms terms;
    /// @dev The hot key whose ceiling counts this deal's bonds; zero when the wallet itself sent the assignment.
    address lockedBy;
    uint96 amount;
    bytes32 commitmentDigest;
    bytes32 dealId;
}

/// @notice The market's times, in seconds, and its one amount; they never change after deployment.
struct Clocks {
    /// @dev Added to `commitBy` before a deal counts as late.
    uint32 grace;
    /// @dev Shortest challenge window that terms may name.
    uint32 windowFloor;
    uint32 freeThaw;
    uint32 earmarkThaw;
    uint32 stakeThaw;
    /// @dev What the caller of `expire` gets for its gas, at most the deadline bond; in base units.
    uint96 expireReward;
}
