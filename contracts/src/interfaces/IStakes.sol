// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice One stake per provider, the hot keys of its nodes, and where its earnings go.
interface IStakes {
    event Staked(address indexed provider, uint96 amount);
    event UnstakeBegun(address indexed provider, uint96 amount, uint40 readyAt);
    event Unstaked(address indexed provider, uint96 amount);
    event HotKeySet(address indexed provider, address indexed key, uint96 lockCeiling);
    event PayoutSet(address indexed provider, address indexed payout);

    /// @notice The stake that no deal locks is too small.
    error InsufficientStake(address provider, uint256 available, uint256 needed);
    /// @notice The bonds of this deal would lift what this hot key has locked above its ceiling.
    error AboveLockCeiling(address key, uint256 available, uint256 needed);
    /// @notice The sender is neither the provider's wallet nor one of its hot keys.
    error NotActingFor(address sender, address provider);

    /// @notice Moves `amount` from the sender's free balance into its stake.
    function stake(uint96 amount) external;

    /// @notice Starts the thaw of `amount` of the sender's stake.
    function beginUnstake(uint96 amount) external;

    /// @notice Moves what was begun, at most what no deal locks, into the sender's free balance.
    function unstake() external returns (uint96 amount);

    /// @notice Lets `key` assign, commit and abandon for the sender, with at most `lockCeiling` in bonds at a time.
    /// @dev Zero removes the key; deals that it has assigned go on and may be committed by the wallet or another key.
    /// The ceiling is rounded up to a multiple of 2**32 base units.
    function setHotKey(address key, uint96 lockCeiling) external;

    /// @notice Credits what the sender earns from now on to the account of `payout`; zero or the sender undoes it.
    function setPayout(address payout) external;

    /// @notice Ceiling and sum of the bonds of open deals for a hot key, in base units, rounded up per deal to
    /// multiples of 2**32; a ceiling of zero means that `key` may not act for `provider`.
    function hotKey(address provider, address key) external view returns (uint96 lockCeiling, uint96 locked);

    /// @notice The account that gets what `provider` earns.
    function payoutOf(address provider) external view returns (address);

    /// @notice The unstaking that `provider` has begun; zeros when there is none.
    function unstakingOf(address provider) external view returns (uint96 amount, uint40 readyAt);
}
