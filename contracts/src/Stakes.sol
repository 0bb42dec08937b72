// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Escrow} from "./Escrow.sol";
import {IStakes} from "./interfaces/IStakes.sol";
import {Account, AccountLib} from "./types/Account.sol";
import {Clocks} from "./types/Deal.sol";

/// @title Stakes
/// @notice The provider's side of an account: stake, bonds locked in it, hot keys, payout.
abstract contract Stakes is IStakes, Escrow {
    /// @dev In units of 2**32 base units, so that any stake's share fits 48 bits.
    struct HotKey {
        uint48 ceiling;
        uint48 locked;
    }

    uint256 private constant UNIT_BITS = 32;

    uint32 internal immutable _stakeThaw;

    mapping(address provider => mapping(address key => HotKey)) private _hotKeys;
    mapping(address provider => address) private _payouts;
    mapping(address provider => Thaw) private _unstakings;

    constructor(Clocks memory clocks) {
        _stakeThaw = clocks.stakeThaw;
    }

    /* STAKE */

    /// @inheritdoc IStakes
    function stake(uint96 amount) external {
        Ledger storage ledger = _ledgers[msg.sender];
        Account account = ledger.account;
        if (account.free() < amount) revert InsufficientFree(msg.sender, account.free(), amount);
        uint256 staked = account.stake() + amount;
        if (staked > AccountLib.MAX_STAKE) revert AmountTooLarge(staked, AccountLib.MAX_STAKE);
        ledger.account = account.subFree(amount).addStake(amount);
        emit Staked(msg.sender, amount);
    }

    /// @inheritdoc IStakes
    function beginUnstake(uint96 amount) external {
        uint40 readyAt = _readyAt(_stakeThaw);
        _unstakings[msg.sender] = Thaw(amount, readyAt);
        emit UnstakeBegun(msg.sender, amount, readyAt);
    }

    /// @inheritdoc IStakes
    function unstake() external returns (uint96 amount) {
        Ledger storage ledger = _ledgers[msg.sender];
        Account account = ledger.account;
        amount = _endThaw(_unstakings[msg.sender], account.unlocked());
        ledger.account = account.subStake(amount).addFree(amount);
        emit Unstaked(msg.sender, amount);
    }

    /* KEYS AND PAYOUT */

    /// @inheritdoc IStakes
    function setHotKey(address key, uint96 lockCeiling) external {
        if (key == address(0)) revert ZeroAddress();
        uint256 units = _units(lockCeiling);
        if (units > type(uint48).max) revert AmountTooLarge(lockCeiling, AccountLib.MAX_STAKE);
        _hotKeys[msg.sender][key].ceiling = uint48(units);
        emit HotKeySet(msg.sender, key, uint96(units << UNIT_BITS));
    }

    /// @inheritdoc IStakes
    function setPayout(address payout) external {
        address elsewhere = payout == msg.sender ? address(0) : payout;
        _payouts[msg.sender] = elsewhere;
        Ledger storage ledger = _ledgers[msg.sender];
        ledger.account = ledger.account.payElsewhere(elsewhere != address(0));
        emit PayoutSet(msg.sender, elsewhere == address(0) ? msg.sender : elsewhere);
    }

    /* VIEWS */

    /// @inheritdoc IStakes
    function hotKey(address provider, address key) external view returns (uint96 lockCeiling, uint96 locked) {
        HotKey memory entry = _hotKeys[provider][key];
        return (uint96(entry.ceiling) << uint96(UNIT_BITS), uint96(entry.locked) << uint96(UNIT_BITS));
    }

    /// @inheritdoc IStakes
    function payoutOf(address provider) external view returns (address) {
        address elsewhere = _payouts[provider];
        return elsewhere == address(0) ? provider : elsewhere;
    }

    /// @inheritdoc IStakes
    function unstakingOf(address provider) external view returns (uint96 amount, uint40 readyAt) {
        Thaw storage thaw = _unstakings[provider];
        return (thaw.amount, thaw.readyAt);
    }

    /* INTERNAL */

    function _actsFor(address sender, address provider) internal view returns (bool) {
        return sender == provider || _hotKeys[provider][sender].ceiling != 0;
    }

    function _requireActingFor(address provider) internal view {
        if (msg.sender != provider && _hotKeys[provider][msg.sender].ceiling == 0) {
            revert NotActingFor(msg.sender, provider);
        }
    }

    /// @dev Locks `bonds` in the provider's stake for a deal that the sender assigns, and returns the hot key that
    /// has to be relieved of them at the end: zero when the wallet sent it.
    function _lockBonds(address provider, uint256 bonds) internal returns (address lockedBy) {
        if (msg.sender != provider) {
            lockedBy = msg.sender;
            _loadHotKey(provider, lockedBy, bonds);
        }
        if (bonds == 0) return lockedBy;
        Ledger storage ledger = _ledgers[provider];
        Account account = ledger.account;
        uint256 unlocked = account.unlocked();
        if (unlocked < bonds) revert InsufficientStake(provider, unlocked, bonds);
        ledger.account = account.lock(bonds);
    }

    /// @dev Ends a deal on the provider's side: unlocks its bonds, takes `slashed` out of them, credits `paid`.
    function _settle(address provider, address lockedBy, uint256 bonds, uint256 slashed, uint256 paid)
        internal
    {
        if (lockedBy != address(0)) {
            unchecked {
                // What a deal loaded on the key it takes off again, and nothing else does.
                _hotKeys[provider][lockedBy].locked -= uint48(_units(bonds));
            }
        }
        Ledger storage ledger = _ledgers[provider];
        Account account = ledger.account.unlock(bonds).subStake(slashed);
        if (account.paidElsewhere()) {
            ledger.account = account;
            _credit(_payouts[provider], paid);
        } else {
            ledger.account = account.addFree(paid);
        }
    }

    function _loadHotKey(address provider, address key, uint256 bonds) private {
        HotKey memory entry = _hotKeys[provider][key];
        if (entry.ceiling == 0) revert NotActingFor(key, provider);
        uint256 total = entry.locked + _units(bonds);
        if (total > entry.ceiling) {
            uint256 room = entry.ceiling < entry.locked ? 0 : entry.ceiling - entry.locked;
            revert AboveLockCeiling(key, room << UNIT_BITS, bonds);
        }
        _hotKeys[provider][key] = HotKey(entry.ceiling, uint48(total));
    }

    function _units(uint256 amount) private pure returns (uint256) {
        return (amount + ((1 << UNIT_BITS) - 1)) >> UNIT_BITS;
    }
}
