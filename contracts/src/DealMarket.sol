// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {Escrow} from "./Escrow.sol";
import {Stakes} from "./Stakes.sol";
import {IDealMarket} from "./interfaces/IDealMarket.sol";
import {Trace} from "./libraries/Trace.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Claim, Clocks, Commitment, DemandCore, Mode, Phase, Terms} from "./types/Deal.sol";
import {DealSheet, DealSheetLib} from "./types/DealSheet.sol";
import {DealSlot, DealSlotLib} from "./types/DealSlot.sol";

/// @title DealMarket
/// @notice Deals, escrow and stakes at one address, so that a deal touches no other contract.
/// @dev No owner, no proxy, no pause: what is not decided by the parties' signatures is decided by a clock.
contract DealMarket is IDealMarket, Stakes, Multicall {
    /// @dev Furthest that `commitBy` may lie ahead, so that no money is bound for ever.
    uint256 private constant MAX_TERM = 366 days;
    /// @dev Longest challenge window.
    uint256 private constant MAX_WINDOW = 30 days;
    /// @dev Longest locator, in bytes.
    uint256 private constant MAX_LOCATOR = 512;

    uint256 private constant DEADLINE_BOND_SHARE = 10;
    uint256 private constant ABANDON_SHARE = 100;
    uint8 private constant ABANDONED = 0;
    uint8 private constant EXPIRED = 1;

    /* IMMUTABLES */

    /// @inheritdoc IDealMarket
    address public immutable disputeCourt;
    uint32 private immutable _grace;
    uint32 private immutable _windowFloor;
    uint96 private immutable _expireReward;

    bytes32 private immutable _separator;
    uint256 private immutable _chainId;

    /* STORAGE */

    struct Slot {
        DealSlot slot;
    }

    // Written through storage pointers, which the analysis does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(bytes32 dealId => Slot) private _slots;

    /// @param court_ Zero: results cannot be challenged.
    constructor(IERC20 token_, address court_, Clocks memory clocks_)
        Escrow(token_, clocks_)
        Stakes(clocks_)
    {
        disputeCourt = court_;
        _separator = TypedData.domainSeparator();
        _chainId = block.chainid;
        _grace = clocks_.grace;
        _windowFloor = clocks_.windowFloor;
        _expireReward = clocks_.expireReward;
    }

    /* TO A DEAL */

    /// @inheritdoc IDealMarket
    function announce(Terms calldata terms, bytes calldata locator) external returns (bytes32 dealId) {
        DealSheet t = DealSheetLib.openNew(terms);
        if (msg.sender != t.requester()) revert NotRequester(msg.sender, t.requester());
        if (t.mode() != uint8(Mode.FIRST)) {
            if (t.mode() != uint8(Mode.AWARD)) revert WrongMode(uint8(t.mode()));
        }
        if (t.provider() != address(0)) revert BadProvider(t.provider());
        if (locator.length > MAX_LOCATOR) revert LocatorTooLong(locator.length);
        _requireTimes(t);

        dealId = _digest(t.typed(TypedData.ANNOUNCEMENT));
        Slot storage stored = _new(dealId);
        _debit(t.requester(), _locked(t));
        stored.slot = DealSlotLib.pack(Phase.ANNOUNCED, t.assignBy(), _low(dealId));
        t.emitAnnounced(dealId, locator);
    }

    /// @inheritdoc IDealMarket
    function assign(Terms calldata award, bytes calldata signature) external returns (bytes32 dealId) {
        DealSheet t = DealSheetLib.openNew(award);
        _requireAward(t, Mode.LOCK);
        _requireTimes(t);

        dealId = _digest(t.typed(TypedData.AWARD));
        Slot storage stored = _new(dealId);
        _requireSigned(t.requester(), dealId, signature);
        _debit(t.requester(), _locked(t));
        _assign(dealId, stored, t);
    }

    /// @inheritdoc IDealMarket
    function assignAnnounced(
        Terms calldata announced,
        uint96 price,
        address provider,
        bytes calldata signature
    ) external returns (bytes32 dealId) {
        DealSheet t;
        Slot storage stored;
        (dealId, stored, t) = _taken(announced, provider, Mode.AWARD);
        uint96 cap = uint96(t.price());
        if (price > cap) revert BadPrice(price, cap);

        uint256 salt = t.salt();
        t.setPrice(price);
        t.setSalt(uint256(dealId));
        _requireSigned(t.requester(), _digest(t.typed(TypedData.AWARD)), signature);
        t.setSalt(salt);
        _credit(t.requester(), cap - price);
        _assign(dealId, stored, t);
    }

    /// @inheritdoc IDealMarket
    function assignFirst(address provider, Terms calldata announced) external returns (bytes32 dealId) {
        DealSheet t;
        Slot storage stored;
        (dealId, stored, t) = _taken(announced, provider, Mode.FIRST);
        _assign(dealId, stored, t);
    }

    /// @inheritdoc IDealMarket
    function assignAndCommit(
        DemandCore calldata demand,
        Commitment calldata commitment,
        Terms calldata award,
        bytes calldata signature
    ) external returns (bytes32 dealId) {
        Slot storage stored;
        DealSheet t;
        address lockedBy;
        (dealId, stored, t, lockedBy) = _assignDirect(award, signature);
        bytes32 root = Trace.rootOfOne(dealId, demand, commitment);
        _commit(dealId, stored, t, lockedBy, demand, commitment, root);
    }

    /// @inheritdoc IDealMarket
    function assignAndCommitSteps(
        DemandCore calldata demand,
        Commitment calldata commitment,
        Terms calldata award,
        bytes calldata signature,
        bytes32[] calldata trace
    ) external returns (bytes32 dealId) {
        Slot storage stored;
        DealSheet t;
        address lockedBy;
        (dealId, stored, t, lockedBy) = _assignDirect(award, signature);
        bytes32 root = Trace.rootOfMore(dealId, demand, commitment, trace);
        _commit(dealId, stored, t, lockedBy, demand, commitment, root);
    }

    /// @inheritdoc IDealMarket
    function commit(
        address lockedBy,
        Terms calldata terms,
        DemandCore calldata demand,
        bytes32 dealId,
        Commitment calldata commitment
    ) external {
        (Slot storage stored, DealSheet t) = _dueFrom(dealId, terms, lockedBy);
        bytes32 root = Trace.rootOfOne(dealId, demand, commitment);
        _commit(dealId, stored, t, lockedBy, demand, commitment, root);
    }

    /// @inheritdoc IDealMarket
    function commitSteps(
        address lockedBy,
        Terms calldata terms,
        DemandCore calldata demand,
        bytes32 dealId,
        Commitment calldata commitment,
        bytes32[] calldata trace
    ) external {
        (Slot storage stored, DealSheet t) = _dueFrom(dealId, terms, lockedBy);
        bytes32 root = Trace.rootOfMore(dealId, demand, commitment, trace);
        _commit(dealId, stored, t, lockedBy, demand, commitment, root);
    }

    /* TO THE MONEY */

    /// @inheritdoc IDealMarket
    function claim(Claim calldata committed) external {
        _claim(0, committed);
    }

    /// @inheritdoc IDealMarket
    function claimBatch(Claim[] calldata committed) external {
        for (uint256 i = 0; i < committed.length; ++i) {
            _claim(i, committed[i]);
        }
    }

    /// @inheritdoc IDealMarket
    function accept(Claim calldata committed, bytes calldata signature) external {
        bytes32 dealId = committed.dealId;
        DealSheet t = DealSheetLib.open(committed);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.COMMITTED, t.committed());
        _requireConsent(t.requester(), _digest(TypedData.accept(dealId)), signature);
        stored.slot = s.endByParty(Phase.FINALIZED);
        _pay(dealId, _escrowed(t, s), t, committed.lockedBy, committed.amount);
    }

    /* BACK OUT */

    /// @inheritdoc IDealMarket
    function cancel(Terms calldata announced) external {
        DealSheet t = DealSheetLib.open(announced);
        bytes32 dealId = _digest(t.typed(TypedData.ANNOUNCEMENT));
        Slot storage stored = _slots[dealId];
        DealSlot s = stored.slot;
        if (!s.isIn(Phase.ANNOUNCED)) revert WrongPhase(dealId, s.phase());
        if (msg.sender != t.requester() && block.timestamp <= s.deadline()) {
            revert NotRequester(msg.sender, t.requester());
        }
        uint256 returned = _locked(t);
        stored.slot = s.endByParty(Phase.CANCELLED);
        _credit(t.requester(), returned);
        emit DealCancelled(dealId, address(0), 0, uint96(returned));
    }

    /// @inheritdoc IDealMarket
    function abandon(bytes32 dealId, Terms calldata terms, address lockedBy) external {
        (Slot storage stored, DealSheet t) = _dueFrom(dealId, terms, lockedBy);
        stored.slot = stored.slot.endByParty(Phase.REFUNDED);
        _refund(dealId, t, lockedBy, t.price() / ABANDON_SHARE, 0, ABANDONED);
    }

    /// @inheritdoc IDealMarket
    function expire(bytes32 dealId, Terms calldata terms, address lockedBy) external {
        DealSheet t = DealSheetLib.open(terms);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ASSIGNED, t.assigned(lockedBy));
        if (block.timestamp <= s.deadline()) revert TooEarly(s.deadline());
        stored.slot = s.endByClock(Phase.REFUNDED);
        uint256 slashed = _deadlineBond(t);
        uint256 reward = slashed < _expireReward ? slashed : _expireReward;
        _refund(dealId, t, lockedBy, slashed, reward, EXPIRED);
    }

    /// @inheritdoc IDealMarket
    function cancelMutual(
        bytes32 dealId,
        Terms calldata terms,
        address lockedBy,
        uint96 amount,
        uint40 validUntil,
        bytes calldata requesterSignature,
        bytes calldata providerSignature
    ) external {
        DealSheet t = DealSheetLib.open(terms);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ASSIGNED, t.assigned(lockedBy));
        _requireInTime(s.deadline());
        _requireInTime(validUntil);
        if (amount > t.price()) revert AmountAbovePrice(amount, uint96(t.price()));

        bytes32 digest = _digest(TypedData.cancelMutual(dealId, amount, validUntil));
        _requireConsent(t.requester(), digest, requesterSignature);
        if (!_actsFor(msg.sender, t.provider())) _requireSigned(t.provider(), digest, providerSignature);

        uint256 returned = _locked(t) - amount;
        stored.slot = s.endByParty(Phase.CANCELLED);
        _credit(t.requester(), returned);
        _settle(t.provider(), lockedBy, _bonds(t), 0, amount);
        emit DealCancelled(dealId, t.provider(), amount, uint96(returned));
    }

    /* FOR THE COURT */

    /// @inheritdoc IDealMarket
    function openChallenge(Claim calldata committed, uint96 base, address challenger)
        external
        returns (uint96 bond)
    {
        (Slot storage stored, DealSlot s,) = _disputed(committed, Phase.COMMITTED);
        _requireInTime(s.deadline());
        uint256 open = s.open();
        if (open == DealSlotLib.MAX_OPEN) revert TooManyChallenges(committed.dealId);
        stored.slot = s.challenged();
        if (base != 0) {
            uint256 doubled = uint256(base) << open; // at most 96 + 7 bits, and within 96 once it is debited
            _debit(challenger, doubled);
            _credit(disputeCourt, doubled);
            bond = uint96(doubled);
        }
    }

    /// @inheritdoc IDealMarket
    function closeChallenge(Claim calldata committed, bool spend) external {
        (Slot storage stored, DealSlot s, DealSheet t) = _disputed(committed, Phase.CHALLENGED);
        s = s.unchallenged();
        if (spend) {
            if (!s.spent()) {
                s = s.spend();
                _credit(disputeCourt, t.verification());
            }
        }
        stored.slot = s;
    }

    /// @inheritdoc IDealMarket
    function overrule(Claim calldata committed, Phase end) external returns (uint256 toCourt) {
        (Slot storage stored, DealSlot s, DealSheet t) = _disputed(committed, Phase.CHALLENGED);
        if (end < Phase.OVERTURNED) revert WrongPhase(committed.dealId, end);
        stored.slot = s.endByClock(end);
        uint256 paid = 0;
        uint256 slashed = 0;
        uint256 returned = _escrowed(t, s);
        if (end == Phase.OVERTURNED) {
            toCourt = slashed = t.fraudBond();
        } else {
            paid = committed.amount / 2;
            toCourt = returned - t.price();
            returned = t.price() - paid;
            if (end == Phase.VOID) {
                uint256 burned = committed.amount - paid;
                returned -= burned;
                _burn(burned);
            }
        }
        _credit(t.requester(), returned);
        _settle(t.provider(), committed.lockedBy, _bonds(t), slashed, paid);
        _credit(disputeCourt, toCourt);
        emit DealJudged(committed.dealId, t.provider(), end, uint96(paid), uint96(returned), uint96(slashed));
    }

    /// @inheritdoc IDealMarket
    function pull(address from, uint96 amount) external {
        _requireCourt();
        _debit(from, amount);
        _credit(disputeCourt, amount);
    }

    /// @inheritdoc IDealMarket
    function pay(uint96 amount, address to) external {
        _requireCourt();
        _debit(disputeCourt, amount);
        if (to == address(0)) _burn(amount);
        else _credit(to, amount);
    }

    /* VIEWS */

    /// @inheritdoc IDealMarket
    function slot(bytes32 dealId)
        external
        view
        returns (Phase phase, uint8 open, uint40 deadline, uint200 hash)
    {
        DealSlot s = _slots[dealId].slot;
        return (s.phase(), uint8(s.open()), s.deadline(), s.hash());
    }

    /// @inheritdoc IDealMarket
    function clocks() external view returns (Clocks memory) {
        return Clocks(_grace, _windowFloor, _freeThaw, _earmarkThaw, _stakeThaw, _expireReward);
    }

    /* TRANSITIONS */

    /// @dev An announced deal that `provider` may still get, with it on the sheet.
    function _taken(Terms calldata announced, address provider, Mode mode)
        private
        view
        returns (bytes32 dealId, Slot storage stored, DealSheet t)
    {
        t = DealSheetLib.open(announced);
        dealId = _digest(t.typed(TypedData.ANNOUNCEMENT));
        stored = _slots[dealId];
        DealSlot s = stored.slot;
        if (!s.isIn(Phase.ANNOUNCED)) revert WrongPhase(dealId, s.phase()); // the id itself binds the terms
        if (block.timestamp > s.deadline()) revert TooLate(s.deadline());
        if (t.mode() != uint8(mode)) revert WrongMode(uint8(t.mode()));
        if (provider == address(0)) revert BadProvider(provider);
        t.setProvider(provider);
    }

    /// @dev The sheet holds the agreed provider and price.
    function _assign(bytes32 dealId, Slot storage stored, DealSheet t) private {
        address lockedBy = _lockBonds(t.provider(), _bonds(t));
        unchecked {
            stored.slot = DealSlotLib.pack(Phase.ASSIGNED, t.commitBy() + _grace, t.assigned(lockedBy));
        }
        emit DealAssigned(dealId, t.requester(), t.provider(), uint96(t.price()), lockedBy);
    }

    /// @dev All of a DIRECT deal but its commitment.
    function _assignDirect(Terms calldata award, bytes calldata signature)
        private
        returns (bytes32 dealId, Slot storage stored, DealSheet t, address lockedBy)
    {
        t = DealSheetLib.openNew(award);
        _requireAward(t, Mode.DIRECT);
        unchecked {
            _requireInTime(t.commitBy() + _grace);
        }
        _requireWindow(t.window());

        dealId = _digest(t.typed(TypedData.AWARD));
        stored = _new(dealId);
        _requireSigned(t.requester(), dealId, signature);
        _debitEarmark(t.requester(), t.provider(), _locked(t));
        lockedBy = _lockBonds(t.provider(), t.fraudBond());
    }

    /// @dev An assigned deal that its provider, who is the sender, may still commit or abandon.
    function _dueFrom(bytes32 dealId, Terms calldata terms, address lockedBy)
        private
        view
        returns (Slot storage stored, DealSheet t)
    {
        t = DealSheetLib.open(terms);
        stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ASSIGNED, t.assigned(lockedBy));
        _requireActingFor(t.provider());
        _requireInTime(s.deadline());
    }

    function _commit(
        bytes32 dealId,
        Slot storage stored,
        DealSheet t,
        address lockedBy,
        DemandCore calldata demand,
        Commitment calldata c,
        bytes32 traceRoot
    ) private {
        if (Trace.demandDigest(demand) != t.demandDigest()) {
            revert DemandMismatch(t.demandDigest());
        }
        if (c.amount > t.price()) revert AmountAbovePrice(c.amount, uint96(t.price()));

        uint256 windowEndsAt;
        unchecked {
            windowEndsAt = block.timestamp + t.window();
        }
        uint200 hash = t.emitCommitted(dealId, traceRoot, c, windowEndsAt, lockedBy);
        stored.slot = DealSlotLib.pack(Phase.COMMITTED, windowEndsAt, hash);
    }

    function _claim(uint256 index, Claim calldata c) private {
        bytes32 dealId = c.dealId;
        DealSheet t = DealSheetLib.open(c);
        Slot storage stored = _slots[dealId];
        DealSlot s = stored.slot;
        bool due = s.isAt(Phase.COMMITTED, t.committed()) && block.timestamp > s.deadline();
        if (!due) revert NotClaimable(index, dealId, s.phase(), s.deadline());
        stored.slot = s.endByClock(Phase.FINALIZED);
        _pay(dealId, _escrowed(t, s), t, c.lockedBy, c.amount);
    }

    function _pay(bytes32 dealId, uint256 escrowed, DealSheet t, address lockedBy, uint96 amount) private {
        uint256 returned;
        unchecked {
            returned = escrowed - amount; // the commitment was checked against the price
        }
        _credit(t.requester(), returned);
        _settle(t.provider(), lockedBy, _bonds(t), 0, amount);
        emit DealFinalized(dealId, t.provider(), amount, uint96(returned));
    }

    function _refund(
        bytes32 dealId,
        DealSheet t,
        address lockedBy,
        uint256 slashed,
        uint256 reward,
        uint8 reason
    ) private {
        uint256 returned = _locked(t);
        _credit(t.requester(), returned);
        _settle(t.provider(), lockedBy, _bonds(t), slashed, 0);
        _credit(msg.sender, reward);
        _burn(slashed - reward);
        emit DealRefunded(dealId, t.provider(), uint96(returned), uint96(slashed - reward), reason);
    }

    /* CHECKS */

    function _expect(bytes32 dealId, Slot storage stored, Phase phase, uint200 hash)
        private
        view
        returns (DealSlot s)
    {
        s = stored.slot;
        if (!s.isIn(phase)) revert WrongPhase(dealId, s.phase());
        if (s.hash() != hash) revert TermsMismatch(dealId);
    }

    /// @dev A deal that the court, which is the sender, may act on: challenged, or in `from`.
    function _disputed(Claim calldata c, Phase from)
        private
        view
        returns (Slot storage stored, DealSlot s, DealSheet t)
    {
        _requireCourt();
        t = DealSheetLib.open(c);
        stored = _slots[c.dealId];
        s = stored.slot;
        if (!s.isIn(Phase.CHALLENGED)) {
            if (!s.isIn(from)) revert WrongPhase(c.dealId, s.phase());
        }
        if (s.hash() != t.committed()) revert TermsMismatch(c.dealId);
    }

    function _requireCourt() private view {
        if (msg.sender != disputeCourt) revert NotCourt(msg.sender);
    }

    function _low(bytes32 hash) private pure returns (uint200) {
        return uint200(uint256(hash));
    }

    function _new(bytes32 dealId) private view returns (Slot storage stored) {
        stored = _slots[dealId];
        if (DealSlot.unwrap(stored.slot) != 0) revert WrongPhase(dealId, stored.slot.phase());
    }

    function _requireAward(DealSheet t, Mode mode) private pure {
        if (t.mode() != uint8(mode)) revert WrongMode(uint8(t.mode()));
        if (t.provider() == address(0)) revert BadProvider(t.provider());
    }

    function _requireInTime(uint256 deadline) private view {
        if (block.timestamp > deadline) revert TooLate(deadline);
    }

    function _requireTimes(DealSheet t) private view {
        uint256 assignBy = t.assignBy();
        uint256 commitBy = t.commitBy();
        if (block.timestamp > assignBy) revert TooLate(assignBy);
        if (assignBy > commitBy) revert BadTimes(uint40(assignBy), uint40(commitBy));
        unchecked {
            if (commitBy > block.timestamp + MAX_TERM) revert BadTimes(uint40(assignBy), uint40(commitBy));
        }
        _requireWindow(t.window());
    }

    function _requireWindow(uint256 window) private view {
        if (window < _windowFloor) revert BadWindow(uint32(window));
        if (window > MAX_WINDOW) revert BadWindow(uint32(window));
    }

    /// @dev What is signed: the struct hash under this market's domain, which a fork of the chain changes.
    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 separator = block.chainid == _chainId ? _separator : TypedData.domainSeparator();
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }

    function _requireConsent(address party, bytes32 digest, bytes calldata signature) private view {
        if (msg.sender != party) _requireSigned(party, digest, signature);
    }

    /// @dev The key first: most signers have no code, and looking for it costs a cold account.
    function _requireSigned(address signer, bytes32 digest, bytes calldata signature) private view {
        // Zero when it is none, whatever the reason.
        // slither-disable-next-line unused-return
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (recovered == signer) {
            if (signer != address(0)) return;
        }
        if (!SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature)) {
            revert BadSignature(signer);
        }
    }

    /* AMOUNTS */

    // No sum below can overflow: each field has at most 96 bits.

    /// @dev What the requester has locked in a deal.
    function _locked(DealSheet t) private pure returns (uint256) {
        unchecked {
            return t.price() + t.verification();
        }
    }

    /// @dev What of it the deal still has.
    function _escrowed(DealSheet t, DealSlot s) private pure returns (uint256 sum) {
        sum = t.price();
        unchecked {
            if (!s.spent()) sum += t.verification();
        }
    }

    /// @dev What the provider has locked in a deal: a DIRECT deal starts with its commitment and cannot be late.
    function _bonds(DealSheet t) private pure returns (uint256) {
        unchecked {
            return t.mode() == uint8(Mode.DIRECT) ? t.fraudBond() : _deadlineBond(t) + t.fraudBond();
        }
    }

    function _deadlineBond(DealSheet t) private pure returns (uint256) {
        return t.price() / DEADLINE_BOND_SHARE;
    }
}
