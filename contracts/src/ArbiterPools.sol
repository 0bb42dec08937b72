// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourtPurse} from "./interfaces/ICourtPurse.sol";
import {Duty, IPools} from "./interfaces/IPools.sol";
import {SumTree} from "./libraries/SumTree.sol";
import {CourtClocks} from "./types/Case.sol";

/// @title ArbiterPools
/// @notice Arbiters' stakes and fees, and the draw, for the court that made this contract.
/// @dev Its money lies in the court's account in the market. A contract of its own, since both do not fit in one.
contract ArbiterPools is IPools {
    using SumTree for SumTree.Tree;

    /// @dev Two words.
    struct Holder {
        address wallet;
        uint96 fees;
        uint96 stake;
        uint40 readyAt;
        Duty duty;
    }

    struct Pool {
        uint32 active;
        uint32 holders;
        SumTree.Tree stakes;
        mapping(uint256 position => Holder) holderAt;
        /// @dev One more than the position; zero for none.
        mapping(address wallet => uint256) places;
    }

    /// @dev Shares of [0, total) that are taken, by where they begin.
    struct Taken {
        uint256[] starts;
        uint256[] weights;
        uint256 count;
    }

    uint256 private constant MAX_CLASS = 64;
    uint256 private constant UNIT_BITS = 32;
    uint256 private constant MAX_HOLDERS = 1 << 16;
    uint256 private constant MAX_NAMED = 15;
    /// @dev A deal's money is at most this part of a pool's stake.
    uint256 private constant POOL_SHARE = 20;

    /// @inheritdoc IPools
    address public immutable court;
    uint32 private immutable _joinBlocks;
    uint32 private immutable _revealBlocks;
    uint32 private immutable _voteTime;
    uint32 private immutable _revealTime;
    uint32 private immutable _appealTime;
    uint32 private immutable _answerTime;
    uint32 private immutable _maxDispute;
    uint96 private immutable _gasAllowance;
    uint32 private immutable _minAge;
    uint32 private immutable _leaveTime;
    uint32 private immutable _minArbiters;
    uint96 private immutable _minStake;

    // Written through storage pointers, which the analysis does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(bytes32 pool => Pool) private _pools;

    constructor(CourtClocks memory clocks) {
        court = msg.sender;
        _joinBlocks = clocks.joinBlocks;
        _revealBlocks = clocks.revealBlocks;
        _voteTime = clocks.voteTime;
        _revealTime = clocks.revealTime;
        _appealTime = clocks.appealTime;
        _answerTime = clocks.answerTime;
        _maxDispute = clocks.maxDispute;
        _gasAllowance = clocks.gasAllowance;
        _minAge = clocks.minAge;
        _leaveTime = clocks.leaveTime;
        _minArbiters = clocks.minArbiters;
        _minStake = clocks.minStake;
    }

    /* DUTY */

    /// @inheritdoc IPools
    function enroll(string calldata hardwareClass, uint96 amount) external {
        uint256 length = bytes(hardwareClass).length;
        if (length > MAX_CLASS) revert ClassTooLong(length); // hence no pool is a named set's as well
        bytes32 pool = keccak256(bytes(hardwareClass));
        Pool storage p = _pools[pool];
        (uint256 position, Holder storage holder) = _placeOf(p, pool, msg.sender);
        if (holder.duty == Duty.LEAVING) revert WrongDuty(msg.sender, Duty.LEAVING);
        uint96 staked = holder.stake + amount;
        if (staked < _minStake || staked >> UNIT_BITS == 0) revert StakeTooSmall(staked, _minStake);
        if (holder.duty == Duty.ACTIVE) {
            p.stakes.set(position, 0);
            --p.active;
        }
        holder.stake = staked;
        holder.duty = Duty.WAITING;
        holder.readyAt = uint40(block.timestamp + _minAge);
        emit Enrolled(pool, msg.sender, amount, holder.readyAt);
        if (_minAge == 0) _activate(pool, p, position, holder);
        ICourtPurse(court).take(msg.sender, amount);
    }

    /// @inheritdoc IPools
    function activate(bytes32 pool, address arbiter) external {
        Pool storage p = _pools[pool];
        (uint256 position, Holder storage holder) = _holderOf(p, arbiter);
        if (holder.duty != Duty.WAITING) revert WrongDuty(arbiter, holder.duty);
        if (block.timestamp < holder.readyAt) revert NotReady(holder.readyAt);
        _activate(pool, p, position, holder);
    }

    /// @inheritdoc IPools
    function beginLeave(bytes32 pool) external {
        Pool storage p = _pools[pool];
        (uint256 position, Holder storage holder) = _holderOf(p, msg.sender);
        Duty duty = holder.duty;
        if (duty == Duty.ACTIVE) {
            p.stakes.set(position, 0);
            --p.active;
        } else if (duty != Duty.WAITING) {
            revert WrongDuty(msg.sender, duty);
        }
        holder.duty = Duty.LEAVING;
        holder.readyAt = uint40(block.timestamp + _leaveTime);
        emit LeaveBegun(pool, msg.sender, holder.readyAt);
    }

    /// @inheritdoc IPools
    function leave(bytes32 pool) external {
        (, Holder storage holder) = _holderOf(_pools[pool], msg.sender);
        if (holder.duty != Duty.LEAVING) revert WrongDuty(msg.sender, holder.duty);
        if (block.timestamp < holder.readyAt) revert NotReady(holder.readyAt);
        uint96 staked = holder.stake;
        holder.stake = 0;
        holder.duty = Duty.NONE;
        emit Left(pool, msg.sender, staked);
        ICourtPurse(court).give(staked, msg.sender);
    }

    /// @inheritdoc IPools
    function collect(bytes32 pool) external {
        (, Holder storage holder) = _holderOf(_pools[pool], msg.sender);
        uint96 fees = holder.fees;
        holder.fees = 0;
        emit FeesCollected(pool, msg.sender, fees);
        ICourtPurse(court).give(fees, msg.sender);
    }

    /// @inheritdoc IPools
    function nameSet(address[] calldata arbiters) external returns (bytes32 pool) {
        if (arbiters.length == 0 || arbiters.length > MAX_NAMED) revert BadSet();
        pool = keccak256(abi.encode(arbiters));
        Pool storage p = _pools[pool];
        if (p.holders != 0) return pool;
        address last = address(0);
        for (uint256 i = 0; i < arbiters.length; ++i) {
            if (arbiters[i] <= last) revert BadSet();
            last = arbiters[i];
            // slither-disable-next-line unused-return
            _placeOf(p, pool, last);
        }
        emit SetNamed(pool, arbiters);
    }

    /* VIEWS */

    /// @inheritdoc IPools
    function canJudge(bytes32 pool, uint8 quorum, uint256 amount) external view returns (bool) {
        Pool storage p = _pools[pool];
        if (quorum != 0) return p.holders >= quorum;
        return p.active >= _minArbiters && amount <= (p.stakes.total() << UNIT_BITS) / POOL_SHARE;
    }

    /// @inheritdoc IPools
    function poolOf(bytes32 pool) external view returns (uint32 active, uint256 stake) {
        Pool storage p = _pools[pool];
        return (p.active, p.stakes.total() << UNIT_BITS);
    }

    /// @inheritdoc IPools
    function arbiterOf(bytes32 pool, address arbiter)
        external
        view
        returns (uint96 stake, uint96 fees, Duty duty, uint40 readyAt)
    {
        Pool storage p = _pools[pool];
        uint256 place = p.places[arbiter];
        if (place == 0) return (0, 0, Duty.NONE, 0);
        Holder storage holder = p.holderAt[place - 1];
        return (holder.stake, holder.fees, holder.duty, holder.readyAt);
    }

    /// @inheritdoc IPools
    function courtClocks() external view returns (CourtClocks memory clocks) {
        clocks.joinBlocks = _joinBlocks;
        clocks.revealBlocks = _revealBlocks;
        clocks.voteTime = _voteTime;
        clocks.revealTime = _revealTime;
        clocks.appealTime = _appealTime;
        clocks.answerTime = _answerTime;
        clocks.maxDispute = _maxDispute;
        clocks.minAge = _minAge;
        clocks.leaveTime = _leaveTime;
        clocks.minArbiters = _minArbiters;
        clocks.minStake = _minStake;
        clocks.gasAllowance = _gasAllowance;
    }

    /* FOR THE COURT */

    /// @inheritdoc IPools
    function named(bytes32 pool)
        external
        view
        returns (uint256[] memory positions, address[] memory wallets)
    {
        Pool storage p = _pools[pool];
        positions = new uint256[](p.holders);
        for (uint256 i = 0; i < positions.length; ++i) {
            positions[i] = i;
        }
        wallets = _walletsAt(p, positions);
    }

    /// @inheritdoc IPools
    function drawn(bytes32 pool, bytes32 seed, uint256 seats, address[] calldata parties)
        external
        view
        returns (uint256[] memory positions, address[] memory wallets)
    {
        Pool storage p = _pools[pool];
        Taken memory taken =
            Taken(new uint256[](parties.length + seats), new uint256[](parties.length + seats), 0);
        uint256 room = _withoutParties(p, parties, taken);
        positions = new uint256[](seats);
        uint256 found = 0;
        while (found < seats && room > 0) {
            uint256 x = _past(taken, uint256(keccak256(abi.encode(seed, found))) % room);
            room -= _take(p, taken, positions, found++, x);
        }
        assembly ("memory-safe") {
            mstore(positions, found)
        }
        wallets = _walletsAt(p, positions);
    }

    /// @inheritdoc IPools
    function walletAt(bytes32 pool, uint256 position) external view returns (address) {
        return _pools[pool].holderAt[position].wallet;
    }

    /// @inheritdoc IPools
    function earn(bytes32 pool, uint256 position, uint96 fee) external {
        _requireCourt();
        _pools[pool].holderAt[position].fees += fee;
    }

    /// @inheritdoc IPools
    function penalise(bytes32 pool, uint256 position, uint96 amount) external returns (uint96 taken) {
        _requireCourt();
        Pool storage p = _pools[pool];
        Holder storage holder = p.holderAt[position];
        uint96 staked = holder.stake;
        taken = amount < staked ? amount : staked;
        if (taken == 0) return 0;
        holder.stake = staked - taken;
        if (holder.duty == Duty.ACTIVE) p.stakes.set(position, (staked - taken) >> UNIT_BITS);
        emit Penalised(pool, holder.wallet, taken);
    }

    /* INTERNAL */

    function _requireCourt() private view {
        if (msg.sender != court) revert NotCourt(msg.sender);
    }

    function _walletsAt(Pool storage p, uint256[] memory positions)
        private
        view
        returns (address[] memory wallets)
    {
        wallets = new address[](positions.length);
        for (uint256 i = 0; i < positions.length; ++i) {
            wallets[i] = p.holderAt[positions[i]].wallet;
        }
    }

    /// @dev Takes the shares of those who are a party out of the draw, and says what is left.
    function _withoutParties(Pool storage p, address[] calldata parties, Taken memory taken)
        private
        view
        returns (uint256 room)
    {
        room = p.stakes.total();
        for (uint256 i = 0; i < parties.length; ++i) {
            uint256 place = p.places[parties[i]];
            if (place == 0) continue;
            (uint256 weight, uint256 start) = p.stakes.at(place - 1);
            if (weight == 0 || _holds(taken, start)) continue;
            _insert(taken, start, weight);
            room -= weight;
        }
    }

    /// @dev Seats the one at `x`, and says how much room that takes.
    function _take(Pool storage p, Taken memory taken, uint256[] memory positions, uint256 seat, uint256 x)
        private
        view
        returns (uint256)
    {
        (uint256 position, uint256 weight, uint256 start) = p.stakes.find(x);
        _insert(taken, start, weight);
        positions[seat] = position;
        return weight;
    }

    /// @dev `x`, counted in what is left, in the whole.
    function _past(Taken memory taken, uint256 x) private pure returns (uint256) {
        for (uint256 i = 0; i < taken.count && taken.starts[i] <= x; ++i) {
            x += taken.weights[i];
        }
        return x;
    }

    function _activate(bytes32 pool, Pool storage p, uint256 position, Holder storage holder) private {
        holder.duty = Duty.ACTIVE;
        ++p.active;
        p.stakes.set(position, holder.stake >> UNIT_BITS);
        emit Activated(pool, holder.wallet, holder.stake);
    }

    function _holderOf(Pool storage p, address wallet)
        private
        view
        returns (uint256 position, Holder storage holder)
    {
        uint256 place = p.places[wallet];
        if (place == 0) revert WrongDuty(wallet, Duty.NONE);
        position = place - 1;
        holder = p.holderAt[position];
    }

    /// @dev A wallet keeps its place for good.
    function _placeOf(Pool storage p, bytes32 pool, address wallet)
        private
        returns (uint256 position, Holder storage holder)
    {
        uint256 place = p.places[wallet];
        if (place == 0) {
            place = ++p.holders;
            if (place > MAX_HOLDERS) revert PoolFull(pool);
            p.places[wallet] = place;
            p.holderAt[place - 1].wallet = wallet;
        }
        position = place - 1;
        holder = p.holderAt[position];
    }

    function _holds(Taken memory taken, uint256 start) private pure returns (bool) {
        for (uint256 i = 0; i < taken.count; ++i) {
            if (taken.starts[i] == start) return true;
        }
        return false;
    }

    function _insert(Taken memory taken, uint256 start, uint256 weight) private pure {
        uint256 i = taken.count++;
        for (; i > 0 && taken.starts[i - 1] > start; --i) {
            (taken.starts[i], taken.weights[i]) = (taken.starts[i - 1], taken.weights[i - 1]);
        }
        (taken.starts[i], taken.weights[i]) = (start, weight);
    }
}
