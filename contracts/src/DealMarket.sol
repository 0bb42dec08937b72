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
import {DealHash} from "./libraries/DealHash.sol";
import {Trace} from "./libraries/Trace.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Claim, Clocks, Commitment, DemandCore, Mode, Phase, Terms} from "./types/Deal.sol";
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

    mapping(bytes32 dealId => DealSlot) private _slots;

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
        if (msg.sender != terms.requester) revert NotRequester(msg.sender, terms.requester);
        if (terms.mode != uint8(Mode.AWARD) && terms.mode != uint8(Mode.FIRST)) revert WrongMode(terms.mode);
        if (terms.provider != address(0)) revert BadProvider(terms.provider);
        if (locator.length > MAX_LOCATOR) revert LocatorTooLong(locator.length);
        _requireTimes(terms);

        dealId = _hashTypedDataV4(TypedData.announcement(terms));
        _requireNew(dealId);
        _debit(terms.requester, _locked(terms));
        _slots[dealId] = DealSlotLib.pack(Phase.ANNOUNCED, terms.assignBy, DealHash.announced(terms));
        emit DealAnnounced(dealId, terms.requester, terms, locator);
    }

    /// @inheritdoc IDealMarket
    function assign(Terms calldata award, bytes calldata signature) external returns (bytes32 dealId) {
        if (award.mode != uint8(Mode.LOCK)) revert WrongMode(award.mode);
        if (award.provider == address(0)) revert BadProvider(award.provider);
        _requireTimes(award);

        dealId = _hashTypedDataV4(TypedData.award(award));
        _requireNew(dealId);
        _requireSigned(award.requester, dealId, signature);
        _debit(award.requester, _locked(award));
        _assign(dealId, award);
    }

    /// @inheritdoc IDealMarket
    function assignAnnounced(
        bytes32 dealId,
        Terms calldata announced,
        uint96 price,
        address provider,
        bytes calldata signature
    ) external {
        DealSlot s = _load(dealId, Phase.ANNOUNCED, DealHash.announced(announced));
        _requireInTime(s.deadline());
        if (provider == address(0)) revert BadProvider(provider);

        Terms memory terms = announced;
        terms.provider = provider;
        if (announced.mode == uint8(Mode.FIRST)) {
            if (price != announced.price) revert BadPrice(price, announced.price);
        } else {
            if (price > announced.price) revert BadPrice(price, announced.price);
            terms.price = price;
            terms.salt = uint256(dealId);
            _requireSigned(terms.requester, _hashTypedDataV4(TypedData.award(terms)), signature);
            terms.salt = announced.salt;
            _credit(terms.requester, announced.price - price);
        }
        _assign(dealId, terms);
    }

    /// @inheritdoc IDealMarket
    function assignAndCommit(
        Terms calldata award,
        bytes calldata signature,
        DemandCore calldata demand,
        Commitment calldata commitment,
        bytes32[] calldata trace
    ) external returns (bytes32 dealId) {
        if (award.mode != uint8(Mode.DIRECT)) revert WrongMode(award.mode);
        if (award.provider == address(0)) revert BadProvider(award.provider);
        _requireInTime(uint256(award.commitBy) + grace);
        _requireWindow(award.window);

        dealId = _hashTypedDataV4(TypedData.award(award));
        _requireNew(dealId);
        _requireSigned(award.requester, dealId, signature);
        _debitEarmark(award.requester, award.provider, _locked(award));
        address lockedBy = _lockBonds(award.provider, award.fraudBond);
        _commit(dealId, award, lockedBy, demand, commitment, trace);
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
        _requireActingFor(terms.provider);
        DealSlot s = _load(dealId, Phase.ASSIGNED, DealHash.assigned(terms, lockedBy));
        _requireInTime(s.deadline());
        _commit(dealId, terms, lockedBy, demand, commitment, trace);
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
        DealSlot s = _load(committed.dealId, Phase.COMMITTED, DealHash.committed(committed));
        _requireConsent(
            committed.terms.requester, _hashTypedDataV4(TypedData.accept(committed.dealId)), signature
        );
        _slots[committed.dealId] = s.endByParty(Phase.FINALIZED);
        _pay(committed);
    }

    /* BACK OUT */

    /// @inheritdoc IDealMarket
    function cancel(bytes32 dealId, Terms calldata announced) external {
        DealSlot s = _load(dealId, Phase.ANNOUNCED, DealHash.announced(announced));
        if (msg.sender != announced.requester && block.timestamp <= s.deadline()) {
            revert NotRequester(msg.sender, announced.requester);
        }
        uint256 returned = _locked(announced);
        _slots[dealId] = s.endByParty(Phase.CANCELLED);
        _credit(announced.requester, returned);
        emit DealCancelled(dealId, announced.requester, address(0), 0, uint96(returned));
    }

    /// @inheritdoc IDealMarket
    function abandon(bytes32 dealId, Terms calldata terms, address lockedBy) external {
        _requireActingFor(terms.provider);
        DealSlot s = _load(dealId, Phase.ASSIGNED, DealHash.assigned(terms, lockedBy));
        _requireInTime(s.deadline());
        _slots[dealId] = s.endByParty(Phase.REFUNDED);
        _refund(dealId, terms, lockedBy, terms.price / ABANDON_SHARE, 0, ABANDONED);
    }

    /// @inheritdoc IDealMarket
    function expire(bytes32 dealId, Terms calldata terms, address lockedBy) external {
        DealSlot s = _load(dealId, Phase.ASSIGNED, DealHash.assigned(terms, lockedBy));
        if (block.timestamp <= s.deadline()) revert TooEarly(s.deadline());
        _slots[dealId] = s.endByClock(Phase.REFUNDED);
        uint256 slashed = _deadlineBond(terms);
        uint256 reward = slashed < expireReward ? slashed : expireReward;
        _refund(dealId, terms, lockedBy, slashed, reward, EXPIRED);
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
        DealSlot s = _load(dealId, Phase.ASSIGNED, DealHash.assigned(terms, lockedBy));
        _requireInTime(s.deadline());
        _requireInTime(validUntil);
        if (amount > terms.price) revert AmountAbovePrice(amount, terms.price);

        bytes32 digest = _hashTypedDataV4(TypedData.cancelMutual(dealId, amount, validUntil));
        _requireConsent(terms.requester, digest, requesterSignature);
        if (!_actsFor(msg.sender, terms.provider)) _requireSigned(terms.provider, digest, providerSignature);

        uint256 returned = _locked(terms) - amount;
        _slots[dealId] = s.endByParty(Phase.CANCELLED);
        _credit(terms.requester, returned);
        _settle(terms.provider, lockedBy, _bonds(terms), 0, amount);
        emit DealCancelled(dealId, terms.requester, terms.provider, amount, uint96(returned));
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
        DealSlot s = _slots[dealId];
        return (s.phase(), s.open(), s.deadline(), s.hash());
    }

    /// @inheritdoc IDealMarket
    function dealIdOf(Terms calldata terms) external view returns (bytes32) {
        bool announced = terms.mode == uint8(Mode.AWARD) || terms.mode == uint8(Mode.FIRST);
        return _hashTypedDataV4(announced ? TypedData.announcement(terms) : TypedData.award(terms));
    }

    /* TRANSITIONS */

    function _assign(bytes32 dealId, Terms memory terms) private {
        address lockedBy = _lockBonds(terms.provider, _deadlineBond(terms.price) + terms.fraudBond);
        _slots[dealId] = DealSlotLib.pack(
            Phase.ASSIGNED, uint256(terms.commitBy) + grace, DealHash.assigned(terms, lockedBy)
        );
        emit DealAssigned(dealId, terms.requester, terms.provider, terms.price, lockedBy);
    }

    function _commit(
        bytes32 dealId,
        Terms calldata terms,
        address lockedBy,
        DemandCore calldata demand,
        Commitment calldata c,
        bytes32[] calldata trace
    ) private {
        if (DealHash.demand(demand) != terms.demandDigest) revert DemandMismatch(terms.demandDigest);
        if (c.amount > terms.price) revert AmountAbovePrice(c.amount, terms.price);

        bytes32 traceRoot = Trace.rootOf(dealId, demand, c, trace);
        uint40 windowEndsAt = uint40(block.timestamp + terms.window);
        uint200 hash =
            DealHash.committed(terms, lockedBy, c.amount, Trace.commitmentDigest(traceRoot, c));
        _slots[dealId] = DealSlotLib.pack(Phase.COMMITTED, windowEndsAt, hash);
        emit DealCommitted(
            dealId,
            terms.requester,
            terms.provider,
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
        DealSlot s = _slots[c.dealId];
        if (
            s.phase() != Phase.COMMITTED || block.timestamp <= s.deadline() || s.hash() != DealHash.committed(c)
        ) revert NotClaimable(index, c.dealId, s.phase(), s.deadline());
        _slots[c.dealId] = s.endByClock(Phase.FINALIZED);
        _pay(c);
    }

    function _pay(Claim calldata c) private {
        uint256 returned = _locked(c.terms) - c.amount;
        _credit(c.terms.requester, returned);
        _settle(c.terms.provider, c.lockedBy, _bonds(c.terms), 0, c.amount);
        emit DealFinalized(c.dealId, c.terms.requester, c.terms.provider, c.amount, uint96(returned));
    }

    function _refund(
        bytes32 dealId,
        Terms calldata terms,
        address lockedBy,
        uint256 slashed,
        uint256 reward,
        uint8 reason
    ) private {
        uint256 returned = _locked(terms);
        _credit(terms.requester, returned);
        _settle(terms.provider, lockedBy, _bonds(terms), slashed, 0);
        _credit(msg.sender, reward);
        _burn(slashed - reward);
        emit DealRefunded(
            dealId, terms.requester, terms.provider, uint96(returned), uint96(slashed - reward), reason
        );
    }

    /* CHECKS */

    function _load(bytes32 dealId, Phase expected, uint200 hash) private view returns (DealSlot s) {
        s = _slots[dealId];
        if (s.phase() != expected) revert WrongPhase(dealId, s.phase());
        if (s.hash() != hash) revert TermsMismatch(dealId);
    }

    function _requireNew(bytes32 dealId) private view {
        DealSlot s = _slots[dealId];
        if (DealSlot.unwrap(s) != 0) revert WrongPhase(dealId, s.phase());
    }

    function _requireInTime(uint256 deadline) private view {
        if (block.timestamp > deadline) revert TooLate(deadline);
    }

    function _requireTimes(Terms calldata terms) private view {
        _requireInTime(terms.assignBy);
        if (terms.assignBy > terms.commitBy || terms.commitBy > block.timestamp + MAX_TERM) {
            revert BadTimes(terms.assignBy, terms.commitBy);
        }
        _requireWindow(terms.window);
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

    /// @dev What the requester has locked in a deal.
    function _locked(Terms calldata terms) private pure returns (uint256) {
        return uint256(terms.price) + terms.verification;
    }

    /// @dev What the provider has locked in a deal: a DIRECT deal starts with its commitment and cannot be late.
    function _bonds(Terms calldata terms) private pure returns (uint256) {
        return terms.mode == uint8(Mode.DIRECT) ? terms.fraudBond : _deadlineBond(terms) + terms.fraudBond;
    }

    function _deadlineBond(Terms calldata terms) private pure returns (uint256) {
        return _deadlineBond(terms.price);
    }

    function _deadlineBond(uint96 price) private pure returns (uint256) {
        return price / DEADLINE_BOND_SHARE;
    }
}
