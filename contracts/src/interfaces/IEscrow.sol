// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @notice Money held for requesters and providers: free balances, and earmarks set aside for one provider.
/// @dev Nobody but the account's holder can move its money, except into deals that it signed. All amounts are base
/// units of the one token. Leaving takes two steps: begin, wait for the thaw, withdraw; until then the money can still
/// be debited by deals. Beginning again replaces the earlier request and starts the wait anew.
interface IEscrow {
    event Deposited(address indexed account, uint256 amount);
    event WithdrawBegun(address indexed account, uint96 amount, uint40 readyAt);
    event Withdrawn(address indexed account, address indexed to, uint96 amount);
    event Earmarked(address indexed payer, address indexed provider, uint96 amount);
    event UnearmarkBegun(address indexed payer, address indexed provider, uint96 amount, uint40 readyAt);
    event Unearmarked(address indexed payer, address indexed provider, uint96 amount);

    /// @notice The free balance is too small.
    error InsufficientFree(address account, uint256 available, uint256 needed);
    /// @notice The earmark of `payer` for `provider` is too small.
    error InsufficientEarmark(address payer, address provider, uint256 available, uint256 needed);
    /// @notice The token moved another amount than asked: it takes a fee, rebases, or lies.
    error InexactDeposit(uint256 expected, uint256 received);
    /// @notice The amount does not fit its field.
    error AmountTooLarge(uint256 amount, uint256 limit);
    /// @notice Nothing was begun that could be ended.
    error NothingThawing();
    /// @notice The thaw is not over.
    error Thawing(uint40 readyAt);
    /// @notice The zero address cannot hold or get money.
    error ZeroAddress();

    /// @notice Takes `amount` from the sender, who approved it, into its free balance.
    function deposit(uint256 amount) external;

    /// @notice As `deposit`, with an EIP-2612 permit in place of the approval.
    /// @dev A permit that somebody else has used already does no harm: the allowance counts.
    function depositWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Starts the thaw of `amount` of the sender's free balance.
    function beginWithdraw(uint96 amount) external;

    /// @notice Pays what was begun, at most what is still free, to `to`.
    function withdraw(address to) external returns (uint96 amount);

    /// @notice Moves `amount` from the sender's free balance into its earmark for `provider`.
    function earmark(address provider, uint96 amount) external;

    /// @notice Starts the thaw of `amount` of the earmark for `provider`.
    function beginUnearmark(address provider, uint96 amount) external;

    /// @notice Moves what was begun, at most what is still there, back into the sender's free balance.
    function unearmark(address provider) external returns (uint96 amount);

    /// @notice The only token of this market.
    function token() external view returns (IERC20);

    /// @notice Money lost for good; it stays in the contract and belongs to nobody.
    function totalBurned() external view returns (uint256);

    /// @notice Free balance, stake, and the part of the stake that deals lock.
    function accountOf(address account) external view returns (uint96 free, uint80 stake, uint80 locked);

    /// @notice The withdrawal that `account` has begun; zeros when there is none.
    function withdrawingOf(address account) external view returns (uint96 amount, uint40 readyAt);

    /// @notice The earmark of `payer` for `provider`, and the part of it that thaws.
    function earmarkOf(address payer, address provider)
        external
        view
        returns (uint96 amount, uint96 thawing, uint40 readyAt);
}
