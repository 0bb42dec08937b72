// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CourtClocks} from "../types/Case.sol";

/// @notice Where an arbiter of a pool stands. WAITING: its stake is not old enough to be drawn.
enum Duty {
    NONE,
    WAITING,
    ACTIVE,
    LEAVING
}

/// @notice Arbiters by pool: their stakes, which draw them, and what they have earned.
/// @dev Stake and fees come from and go to the sender's free balance in the market. A pool is a hardware class,
/// keccak256 of its text, or a named set. Arbiters are called by their wallet; its hot keys in the market may vote for it.
interface IPools {
    event Enrolled(bytes32 indexed pool, address indexed arbiter, uint96 amount, uint40 activeFrom);
    event Activated(bytes32 indexed pool, address indexed arbiter, uint96 stake);
    event LeaveBegun(bytes32 indexed pool, address indexed arbiter, uint40 readyAt);
    event Left(bytes32 indexed pool, address indexed arbiter, uint96 stake);
    event SetNamed(bytes32 indexed pool, address[] arbiters);
    event Penalised(bytes32 indexed pool, address indexed arbiter, uint96 amount);
    event FeesCollected(bytes32 indexed pool, address indexed arbiter, uint96 amount);

    /// @notice The stake would be below the least one.
    error StakeTooSmall(uint96 stake, uint96 least);
    /// @notice The arbiter is not where this call starts from.
    error WrongDuty(address arbiter, Duty duty);
    /// @notice It is too early: the stake is not old enough, or the time to leave not over.
    error NotReady(uint40 readyAt);
    /// @notice A hardware class has at most 64 bytes.
    error ClassTooLong(uint256 length);
    /// @notice The pool has as many arbiters as it can hold.
    error PoolFull(bytes32 pool);
    /// @notice Only the court may do this.
    error NotCourt(address sender);
    /// @notice A named set has 1 to 15 addresses in ascending order, none of them zero.
    error BadSet();

    /// @notice Stakes `amount` more in the pool of a hardware class and puts the sender on duty once all of it is old enough.
    /// @dev Adding to a stake starts its age anew. Sender: not leaving.
    function enroll(string calldata hardwareClass, uint96 amount) external;

    /// @notice Lets an arbiter be drawn whose stake is old enough. Anyone may call it.
    function activate(bytes32 pool, address arbiter) external;

    /// @notice Ends the sender's duty: it is drawn no more, and its stake stays at risk until the wait is over.
    function beginLeave(bytes32 pool) external;

    /// @notice Pays the sender's stake back after the wait.
    function leave(bytes32 pool) external;

    /// @notice Pays the sender's fees in `pool`.
    function collect(bytes32 pool) external;

    /// @notice Makes a named set known, once for all deals that name it. Anyone may call it.
    function nameSet(address[] calldata arbiters) external returns (bytes32 pool);

    /// @notice Whether a deal may rely on this pool: enough arbiters on duty, and `amount`, which is P + Bf, at most a
    /// twentieth of their stake. For a named set: whether it is known.
    function canJudge(bytes32 pool, uint8 quorum, uint256 amount) external view returns (bool);

    /// @notice Arbiters on duty and the sum of their stakes, in base units, rounded down per arbiter to 2**32.
    function poolOf(bytes32 pool) external view returns (uint32 active, uint256 stake);

    /// @notice An arbiter's stake, fees, duty, and from when on it is active or may leave.
    function arbiterOf(bytes32 pool, address arbiter)
        external
        view
        returns (uint96 stake, uint96 fees, Duty duty, uint40 readyAt);

    /// @notice Everybody of a named set: their positions in its pool, and their wallets.
    function named(bytes32 pool) external view returns (uint256[] memory positions, address[] memory wallets);

    /// @notice Whom `seed` draws: distinct arbiters by stake, none of `parties` among them; fewer than `seats` where
    /// there are no more.
    /// @dev Seat number i is drawn by keccak256(abi.encode(seed, i)) modulo the stake that is left, which counts in
    /// units of 2**32 along the positions, past the shares of parties and of those who were drawn.
    function drawn(bytes32 pool, bytes32 seed, uint256 seats, address[] calldata parties)
        external
        view
        returns (uint256[] memory positions, address[] memory wallets);

    /// @notice Whose a position is; zero for nobody's.
    function walletAt(bytes32 pool, uint256 position) external view returns (address);

    /// @notice Adds to an arbiter's fees. Sender: court.
    function earn(bytes32 pool, uint256 position, uint96 fee) external;

    /// @notice Takes up to `amount` of an arbiter's stake. Sender: court.
    function penalise(bytes32 pool, uint256 position, uint96 amount) external returns (uint96 taken);

    /// @notice The times and numbers of court and pools.
    function courtClocks() external view returns (CourtClocks memory);

    /// @notice The court whose arbiters these are.
    function court() external view returns (address);
}
