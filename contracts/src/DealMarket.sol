// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
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
contract DealMarket is IDealMarket, Stakes, EIP712, Multicall {
    /// @notice Furthest that `commitBy` may lie ahead, so that no money is bound for ever.
    uint256 public constant MAX_TERM = 366 days;
    /// @notice Longest challenge window.
    uint256 public constant MAX_WINDOW = 30 days;
    /// @notice Longest locator, in bytes.
    uint256 public constant MAX_LOCATOR = 512;

    uint256 private constant DEADLINE_BOND_SHARE = 10;
    uint256 private constant ABANDON_SHARE = 100;
    uint8 private constant ABANDONED = 0;
    uint8 private constant EXPIRED = 1;

    /* IMMUTABLES */

    /// @inheritdoc IDealMarket
    address public immutable court;
    /// @inheritdoc IDealMarket
    uint32 public immutable grace;
    /// @inheritdoc IDealMarket
    uint32 public immutable windowFloor;
    /// @inheritdoc IDealMarket
    uint96 public immutable expireReward;

    /* STORAGE */

    struct Slot {
        DealSlot slot;
    }

    mapping(bytes32 dealId => Slot) private _slots;

    /// @param court_ Zero: this version has no way to challenge.
    constructor(IERC20 token_, address court_, Clocks memory clocks)
        Escrow(token_, clocks)
        Stakes(clocks)
        EIP712("capanode", "1")
    {
        if (court_ != address(0)) revert NotDisputable();
        court = court_;
        grace = clocks.grace;
        windowFloor = clocks.windowFloor;
        expireReward = clocks.expireReward;
    }

    /* TO A DEAL */

    /// @inheritdoc IDealMarket
    function announce(Terms calldata terms, bytes calldata locator) external returns (bytes32 dealId) {
        DealSheet t = DealSheetLib.openNew(terms);
        if (msg.sender != t.requester()) revert NotRequester(msg.sender, t.requester());
        if (!_isAnnounced(t)) revert WrongMode(t.mode());
        if (t.provider() != address(0)) revert BadProvider(t.provider());
        if (locator.length > MAX_LOCATOR) revert LocatorTooLong(locator.length);
        _requireTimes(t);

        dealId = _hashTypedDataV4(t.typed(TypedData.ANNOUNCEMENT));
        Slot storage stored = _new(dealId);
        _debit(t.requester(), _locked(t));
        stored.slot = DealSlotLib.pack(Phase.ANNOUNCED, t.assignBy(), t.announced());
        emit DealAnnounced(dealId, t.requester(), terms, locator);
    }

    /// @inheritdoc IDealMarket
    function assign(Terms calldata award, bytes calldata signature) external returns (bytes32 dealId) {
        DealSheet t = DealSheetLib.openNew(award);
        _requireAward(t, Mode.LOCK);
        _requireTimes(t);

        dealId = _hashTypedDataV4(t.typed(TypedData.AWARD));
        Slot storage stored = _new(dealId);
        _requireSigned(t.requester(), dealId, signature);
        _debit(t.requester(), _locked(t));
        _assign(dealId, stored, t);
    }

    /// @inheritdoc IDealMarket
    function assignAnnounced(
        bytes32 dealId,
        Terms calldata announced,
        uint96 price,
        address provider,
        bytes calldata signature
    ) external {
        DealSheet t = DealSheetLib.open(announced);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ANNOUNCED, t.announced());
        _requireInTime(s.deadline());
        if (provider == address(0)) revert BadProvider(provider);

        uint96 cap = t.price();
        t.setProvider(provider);
        t.setPrice(price);
        if (t.mode() == uint8(Mode.FIRST)) {
            if (price != cap) revert BadPrice(price, cap);
        } else {
            if (price > cap) revert BadPrice(price, cap);
            uint256 salt = t.salt();
            t.setSalt(uint256(dealId));
            _requireSigned(t.requester(), _hashTypedDataV4(t.typed(TypedData.AWARD)), signature);
            t.setSalt(salt);
            _credit(t.requester(), cap - price);
        }
        _assign(dealId, stored, t);
    }

    /// @inheritdoc IDealMarket
    function assignAndCommit(
        Terms calldata award,
        bytes calldata signature,
        DemandCore calldata demand,
        Commitment calldata commitment,
        bytes32[] calldata trace
    ) external returns (bytes32 dealId) {
        DealSheet t = DealSheetLib.openNew(award);
        _requireAward(t, Mode.DIRECT);
        _requireInTime(uint256(t.commitBy()) + grace);
        _requireWindow(t.window());

        dealId = _hashTypedDataV4(t.typed(TypedData.AWARD));
        Slot storage stored = _new(dealId);
        _requireSigned(t.requester(), dealId, signature);
        _debitEarmark(t.requester(), t.provider(), _locked(t));
        address lockedBy = _lockBonds(t.provider(), t.fraudBond());
        _commit(dealId, stored, t, lockedBy, demand, commitment, trace);
    }

    /// @inheritdoc IDealMarket
    function commit(
        bytes32 dealId,
        Terms calldata terms,
        address lockedBy,
        DemandCore calldata demand,
        Commitment calldata commitment,
        bytes32[] calldata trace
    ) external {
        DealSheet t = DealSheetLib.open(terms);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ASSIGNED, t.assigned(lockedBy));
        _requireActingFor(t.provider());
        _requireInTime(s.deadline());
        _commit(dealId, stored, t, lockedBy, demand, commitment, trace);
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
        _requireConsent(t.requester(), _hashTypedDataV4(TypedData.accept(dealId)), signature);
        stored.slot = s.endByParty(Phase.FINALIZED);
        _pay(dealId, t, committed.lockedBy, committed.amount);
    }

    /* BACK OUT */

    /// @inheritdoc IDealMarket
    function cancel(bytes32 dealId, Terms calldata announced) external {
        DealSheet t = DealSheetLib.open(announced);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ANNOUNCED, t.announced());
        if (msg.sender != t.requester() && block.timestamp <= s.deadline()) {
            revert NotRequester(msg.sender, t.requester());
        }
        uint256 returned = _locked(t);
        stored.slot = s.endByParty(Phase.CANCELLED);
        _credit(t.requester(), returned);
        emit DealCancelled(dealId, t.requester(), address(0), 0, uint96(returned));
    }

    /// @inheritdoc IDealMarket
    function abandon(bytes32 dealId, Terms calldata terms, address lockedBy) external {
        DealSheet t = DealSheetLib.open(terms);
        Slot storage stored = _slots[dealId];
        DealSlot s = _expect(dealId, stored, Phase.ASSIGNED, t.assigned(lockedBy));
        _requireActingFor(t.provider());
        _requireInTime(s.deadline());
        stored.slot = s.endByParty(Phase.REFUNDED);
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
        uint256 reward = slashed < expireReward ? slashed : expireReward;
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
        if (amount > t.price()) revert AmountAbovePrice(amount, t.price());

        bytes32 digest = _hashTypedDataV4(TypedData.cancelMutual(dealId, amount, validUntil));
        _requireConsent(t.requester(), digest, requesterSignature);
        if (!_actsFor(msg.sender, t.provider())) _requireSigned(t.provider(), digest, providerSignature);

        uint256 returned = _locked(t) - amount;
        stored.slot = s.endByParty(Phase.CANCELLED);
        _credit(t.requester(), returned);
        _settle(t.provider(), lockedBy, _bonds(t), 0, amount);
        emit DealCancelled(dealId, t.requester(), t.provider(), amount, uint96(returned));
    }

    /// @inheritdoc IDealMarket
    function challenge(Claim calldata, uint256, bytes32) external pure {
        revert NotDisputable();
    }

    /* VIEWS */

    /// @inheritdoc IDealMarket
    function slot(bytes32 dealId)
        external
        view
        returns (Phase phase, uint8 open, uint40 deadline, uint200 hash)
    {
        DealSlot s = _slots[dealId].slot;
        return (s.phase(), s.open(), s.deadline(), s.hash());
    }

    /// @inheritdoc IDealMarket
    function dealIdOf(Terms calldata terms) external view returns (bytes32) {
        DealSheet t = DealSheetLib.openNew(terms);
        bool announced = _isAnnounced(t);
        return _hashTypedDataV4(t.typed(announced ? TypedData.ANNOUNCEMENT : TypedData.AWARD));
    }

    /* TRANSITIONS */

    /// @dev The sheet holds the agreed provider and price.
    function _assign(bytes32 dealId, Slot storage stored, DealSheet t) private {
        address lockedBy = _lockBonds(t.provider(), _bonds(t));
        stored.slot = DealSlotLib.pack(Phase.ASSIGNED, uint256(t.commitBy()) + grace, t.assigned(lockedBy));
        emit DealAssigned(dealId, t.requester(), t.provider(), t.price(), lockedBy);
    }

    function _commit(
        bytes32 dealId,
        Slot storage stored,
        DealSheet t,
        address lockedBy,
        DemandCore calldata demand,
        Commitment calldata c,
        bytes32[] calldata trace
    ) private {
        if (keccak256(abi.encode(demand)) != t.demandDigest()) revert DemandMismatch(t.demandDigest());
        if (c.amount > t.price()) revert AmountAbovePrice(c.amount, t.price());

        bytes32 traceRoot = Trace.rootOf(dealId, demand, c, trace);
        uint40 windowEndsAt = uint40(block.timestamp + t.window());
        uint200 hash = t.committed(lockedBy, c.amount, Trace.commitmentDigest(traceRoot, c));
        stored.slot = DealSlotLib.pack(Phase.COMMITTED, windowEndsAt, hash);
        emit DealCommitted(
            dealId,
            t.requester(),
            t.provider(),
            traceRoot,
            c.resultRoot,
            c.deliveryRoot,
            c.leavesCid,
            c.stepCount,
            c.status,
            c.amount,
            windowEndsAt,
            lockedBy
        );
    }

    function _claim(uint256 index, Claim calldata c) private {
        bytes32 dealId = c.dealId;
        DealSheet t = DealSheetLib.open(c);
        Slot storage stored = _slots[dealId];
        DealSlot s = stored.slot;
        if (!s.isAt(Phase.COMMITTED, t.committed()) || block.timestamp <= s.deadline()) {
            revert NotClaimable(index, dealId, s.phase(), s.deadline());
        }
        stored.slot = s.endByClock(Phase.FINALIZED);
        _pay(dealId, t, c.lockedBy, c.amount);
    }

    function _pay(bytes32 dealId, DealSheet t, address lockedBy, uint96 amount) private {
        uint256 returned = _locked(t) - amount;
        _credit(t.requester(), returned);
        _settle(t.provider(), lockedBy, _bonds(t), 0, amount);
        emit DealFinalized(dealId, t.requester(), t.provider(), amount, uint96(returned));
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
        emit DealRefunded(dealId, t.requester(), t.provider(), uint96(returned), uint96(slashed - reward), reason);
    }

    /* CHECKS */

    function _expect(bytes32 dealId, Slot storage stored, Phase phase, uint200 hash)
        private
        view
        returns (DealSlot s)
    {
        s = stored.slot;
        if (!s.isAt(phase, hash)) {
            if (s.phase() != phase) revert WrongPhase(dealId, s.phase());
            revert TermsMismatch(dealId);
        }
    }

    function _new(bytes32 dealId) private view returns (Slot storage stored) {
        stored = _slots[dealId];
        if (DealSlot.unwrap(stored.slot) != 0) revert WrongPhase(dealId, stored.slot.phase());
    }

    function _requireAward(DealSheet t, Mode mode) private pure {
        if (t.mode() != uint8(mode)) revert WrongMode(t.mode());
        if (t.provider() == address(0)) revert BadProvider(t.provider());
    }

    function _requireInTime(uint256 deadline) private view {
        if (block.timestamp > deadline) revert TooLate(deadline);
    }

    function _requireTimes(DealSheet t) private view {
        _requireInTime(t.assignBy());
        if (t.assignBy() > t.commitBy() || t.commitBy() > block.timestamp + MAX_TERM) {
            revert BadTimes(t.assignBy(), t.commitBy());
        }
        _requireWindow(t.window());
    }

    function _requireWindow(uint32 window) private view {
        if (window < windowFloor || window > MAX_WINDOW) revert BadWindow(window);
    }

    function _requireConsent(address party, bytes32 digest, bytes calldata signature) private view {
        if (msg.sender != party) _requireSigned(party, digest, signature);
    }

    /// @dev The key first: most signers have no code, and looking for it costs a cold account.
    function _requireSigned(address signer, bytes32 digest, bytes calldata signature) private view {
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (err == ECDSA.RecoverError.NoError && recovered == signer) return;
        if (!SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature)) {
            revert BadSignature(signer);
        }
    }

    /* AMOUNTS */

    function _isAnnounced(DealSheet t) private pure returns (bool) {
        return t.mode() == uint8(Mode.AWARD) || t.mode() == uint8(Mode.FIRST);
    }

    /// @dev What the requester has locked in a deal.
    function _locked(DealSheet t) private pure returns (uint256) {
        return uint256(t.price()) + t.verification();
    }

    /// @dev What the provider has locked in a deal: a DIRECT deal starts with its commitment and cannot be late.
    function _bonds(DealSheet t) private pure returns (uint256) {
        return t.mode() == uint8(Mode.DIRECT) ? t.fraudBond() : _deadlineBond(t) + t.fraudBond();
    }

    function _deadlineBond(DealSheet t) private pure returns (uint256) {
        return t.price() / DEADLINE_BOND_SHARE;
    }
}
