// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IEscrow} from "./interfaces/IEscrow.sol";
import {Account} from "./types/Account.sol";
import {Clocks} from "./types/Deal.sol";
import {Earmark} from "./types/Earmark.sol";

/// @title Escrow
/// @notice Accounts and earmarks; the only code that moves tokens.
abstract contract Escrow is IEscrow, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev What its holder wants to take out, and from when on it may. The money itself stays where it is.
    struct Thaw {
        uint96 amount;
        uint40 readyAt;
    }

    /// @dev A struct around the word, so that one storage pointer serves for reading and writing.
    struct Ledger {
        Account account;
    }

    /// @dev Likewise.
    struct Mark {
        Earmark earmark;
    }

    /* IMMUTABLES */

    /// @inheritdoc IEscrow
    IERC20 public immutable token;
    uint32 internal immutable _freeThaw;
    uint32 internal immutable _earmarkThaw;

    /* STORAGE */

    /// @inheritdoc IEscrow
    uint256 public totalBurned;

    // Written through storage pointers, which the analysis does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(address account => Ledger) internal _ledgers;
    mapping(address payer => mapping(address provider => Mark)) private _marks;
    mapping(address account => Thaw) private _withdrawals;

    constructor(IERC20 token_, Clocks memory clocks) {
        if (address(token_) == address(0)) revert ZeroAddress();
        token = token_;
        _freeThaw = clocks.freeThaw;
        _earmarkThaw = clocks.earmarkThaw;
    }

    /* TOKENS IN AND OUT */

    /// @inheritdoc IEscrow
    function deposit(uint256 amount) external nonReentrant {
        _deposit(amount);
    }

    /// @inheritdoc IEscrow
    function depositWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        // Anyone may have sent this permit before us; then the allowance is there and the call fails harmlessly.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        _deposit(amount);
    }

    /// @inheritdoc IEscrow
    function beginWithdraw(uint96 amount) external {
        uint40 readyAt = _readyAt(_freeThaw);
        _withdrawals[msg.sender] = Thaw(amount, readyAt);
        emit WithdrawBegun(msg.sender, amount, readyAt);
    }

    /// @inheritdoc IEscrow
    function withdraw(address to) external nonReentrant returns (uint96 amount) {
        if (to == address(0)) revert ZeroAddress();
        Ledger storage ledger = _ledgers[msg.sender];
        amount = _endThaw(_withdrawals[msg.sender], ledger.account.free());
        ledger.account = ledger.account.subFree(amount);
        emit Withdrawn(msg.sender, to, amount);
        token.safeTransfer(to, amount);
    }

    /* EARMARKS */

    /// @inheritdoc IEscrow
    function earmark(address provider, uint96 amount) external {
        if (provider == address(0)) revert ZeroAddress();
        _debit(msg.sender, amount);
        Mark storage mark = _marks[msg.sender][provider];
        mark.earmark = mark.earmark.add(amount);
        emit Earmarked(msg.sender, provider, amount);
    }

    /// @inheritdoc IEscrow
    function beginUnearmark(address provider, uint96 amount) external {
        uint40 readyAt = _readyAt(_earmarkThaw);
        Mark storage mark = _marks[msg.sender][provider];
        mark.earmark = mark.earmark.withThaw(amount, readyAt);
        emit UnearmarkBegun(msg.sender, provider, amount, readyAt);
    }

    /// @inheritdoc IEscrow
    function unearmark(address provider) external returns (uint96 amount) {
        Mark storage mark = _marks[msg.sender][provider];
        Earmark marked = mark.earmark;
        _requireThawed(marked.readyAt());
        amount = _min(marked.thawing(), marked.amount());
        mark.earmark = marked.sub(amount).withThaw(0, 0);
        _credit(msg.sender, amount);
        emit Unearmarked(msg.sender, provider, amount);
    }

    /* VIEWS */

    /// @inheritdoc IEscrow
    function accountOf(address holder) external view returns (uint96 free, uint80 stake, uint80 locked) {
        Account account = _ledgers[holder].account;
        return (uint96(account.free()), uint80(account.stake()), uint80(account.locked()));
    }

    /// @inheritdoc IEscrow
    function withdrawingOf(address account) external view returns (uint96 amount, uint40 readyAt) {
        Thaw storage thaw = _withdrawals[account];
        return (thaw.amount, thaw.readyAt);
    }

    /// @inheritdoc IEscrow
    function earmarkOf(address payer, address provider)
        external
        view
        returns (uint96 amount, uint96 thawing, uint40 readyAt)
    {
        Earmark marked = _marks[payer][provider].earmark;
        return (uint96(marked.amount()), marked.thawing(), marked.readyAt());
    }

    /* INTERNAL */

    /// @dev Adds to a free balance. There is always room: deposits keep the contract's whole balance below 2**96.
    function _credit(address holder, uint256 amount) internal {
        if (amount == 0) return;
        Ledger storage ledger = _ledgers[holder];
        ledger.account = ledger.account.addFree(amount);
    }

    function _debit(address holder, uint256 amount) internal {
        Ledger storage ledger = _ledgers[holder];
        Account account = ledger.account;
        if (account.free() < amount) revert InsufficientFree(holder, account.free(), amount);
        ledger.account = account.subFree(amount);
    }

    function _debitEarmark(address payer, address provider, uint256 amount) internal {
        Mark storage mark = _marks[payer][provider];
        Earmark marked = mark.earmark;
        if (marked.amount() < amount) revert InsufficientEarmark(payer, provider, marked.amount(), amount);
        mark.earmark = marked.sub(amount);
    }

    function _burn(uint256 amount) internal {
        totalBurned += amount;
    }

    /// @dev Ends a thaw that is over and says how much of `available` may leave.
    function _endThaw(Thaw storage thaw, uint256 available) internal returns (uint96 amount) {
        _requireThawed(thaw.readyAt);
        amount = _min(thaw.amount, available);
        thaw.amount = 0;
        thaw.readyAt = 0;
    }

    function _readyAt(uint32 thaw) internal view returns (uint40) {
        return uint40(block.timestamp + thaw);
    }

    function _deposit(uint256 amount) private {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 afterwards = token.balanceOf(address(this));
        if (afterwards < before || afterwards - before != amount) {
            revert InexactDeposit(amount, afterwards < before ? 0 : afterwards - before);
        }
        if (afterwards > type(uint96).max) revert AmountTooLarge(afterwards, type(uint96).max);
        _credit(msg.sender, amount);
        emit Deposited(msg.sender, amount);
    }

    function _requireThawed(uint40 readyAt) private view {
        if (readyAt == 0) revert NothingThawing();
        if (block.timestamp < readyAt) revert Thawing(readyAt);
    }

    /// @dev At most `wanted`, hence within 96 bits.
    function _min(uint96 wanted, uint256 available) private pure returns (uint96) {
        return wanted < available ? wanted : uint96(available);
    }
}
