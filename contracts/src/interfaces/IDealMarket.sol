// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, Clocks, Commitment, DemandCore, Phase, Terms} from "../types/Deal.sol";

/// @notice Deals from announcement or award to payment.
/// @dev A deal is one storage slot, which never returns to zero; everything else travels in calldata and is compared
/// with the hash in the slot. From assignment on, the `terms` to pass are those of the award or announcement with
/// `provider` and the agreed `price` filled in (`salt` stays the announcement's). `lockedBy` is the hot key that sent the
/// assignment, zero if it was the wallet. The deadline bond of a deal is a tenth of its price, rounded down; DIRECT deals
/// have none. Wherever a signature of a party is asked for, it may be empty when that party is the sender.
interface IDealMarket {
    /// @param locator Where the requester can be reached; nothing on chain reads it.
    event DealAnnounced(bytes32 indexed dealId, Terms terms, bytes locator);
    event DealAssigned(
        bytes32 indexed dealId,
        address indexed requester,
        address indexed provider,
        uint96 price,
        address lockedBy
    );
    event DealCommitted(
        bytes32 indexed dealId,
        address indexed requester,
        address indexed provider,
        bytes32 traceRoot,
        bytes32 resultRoot,
        bytes32 deliveryRoot,
        bytes32 leavesCid,
        uint32 stepCount,
        uint8 status,
        uint96 amount,
        uint40 windowEndsAt,
        address lockedBy
    );
    event DealFinalized(bytes32 indexed dealId, address indexed provider, uint96 paid, uint96 returned);
    /// @param reason 0 abandoned, 1 expired.
    event DealRefunded(
        bytes32 indexed dealId, address indexed provider, uint96 returned, uint96 burned, uint8 reason
    );
    /// @param provider Zero when nobody was bound yet.
    event DealCancelled(bytes32 indexed dealId, address indexed provider, uint96 paid, uint96 returned);

    /// @notice A verdict has ended the deal.
    /// @param end OVERTURNED, VOID or SPLIT.
    /// @param slashed Taken out of the provider's stake.
    event DealJudged(
        bytes32 indexed dealId,
        address indexed provider,
        Phase end,
        uint96 paid,
        uint96 returned,
        uint96 slashed
    );

    /// @notice The deal is not in a phase from which this call leads on.
    error WrongPhase(bytes32 dealId, Phase phase);
    /// @notice What was passed is not what the slot's hash binds.
    error TermsMismatch(bytes32 dealId);
    /// @notice These terms are for another way of dealing.
    error WrongMode(uint8 mode);
    /// @notice Only the requester may do this now.
    error NotRequester(address sender, address requester);
    /// @notice The deadline has passed.
    error TooLate(uint256 deadline);
    /// @notice The deadline has not passed yet.
    error TooEarly(uint256 deadline);
    /// @notice assignBy comes after commitBy, or commitBy is more than 366 days away.
    error BadTimes(uint40 assignBy, uint40 commitBy);
    /// @notice The window is shorter than the market's floor or longer than 30 days.
    error BadWindow(uint32 window);
    /// @notice An announcement names no provider, and every other deal names one.
    error BadProvider(address provider);
    /// @notice The price is above the announced cap, or differs from the posted price.
    error BadPrice(uint96 price, uint96 cap);
    /// @notice The locator has more than 512 bytes.
    error LocatorTooLong(uint256 length);
    /// @notice `signer` did not sign this.
    error BadSignature(address signer);
    /// @notice The demand is not the one that the terms name.
    error DemandMismatch(bytes32 demandDigest);
    /// @notice More is asked for than was agreed.
    error AmountAbovePrice(uint96 amount, uint96 price);
    /// @notice Claim number `index` cannot be paid: wrong phase, window still open, or not what the slot binds.
    error NotClaimable(uint256 index, bytes32 dealId, Phase phase, uint40 deadline);
    /// @notice Only the market's court may do this; where that is zero, results cannot be challenged.
    error NotCourt(address sender);
    /// @notice As many cases as a deal can have are open.
    error TooManyChallenges(bytes32 dealId);

    /// @notice Announces a demand and locks price cap and verification deposit from the requester's free balance.
    /// @dev Sender: requester. `terms.mode` is AWARD or FIRST, `terms.provider` zero.
    function announce(Terms calldata terms, bytes calldata locator) external returns (bytes32 dealId);

    /// @notice Binds a LOCK award: locks the requester's money and the provider's bonds.
    /// @dev Sender: provider or its hot key, until `assignBy`.
    function assign(Terms calldata award, bytes calldata signature) external returns (bytes32 dealId);

    /// @notice Binds a deal announced as AWARD to `provider` at `price` and locks its bonds.
    /// @dev Sender: provider or its hot key, until `assignBy`. `signature` is the requester's over the Award with the
    /// announcement's terms, `provider`, `price` and `salt = uint256(dealId)`. What the price is below the cap goes back
    /// to the requester.
    function assignAnnounced(
        Terms calldata announced,
        uint96 price,
        address provider,
        bytes calldata signature
    ) external returns (bytes32 dealId);

    /// @notice Binds a deal announced as FIRST to `provider` at the posted price and locks its bonds.
    /// @dev Sender: provider or its hot key, until `assignBy`.
    function assignFirst(address provider, Terms calldata announced) external returns (bytes32 dealId);

    /// @notice Binds a DIRECT award and commits its result of one step, paid from the requester's earmark for the provider.
    /// @dev Sender: provider or its hot key, until `commitBy` plus grace.
    function assignAndCommit(
        DemandCore calldata demand,
        Commitment calldata commitment,
        Terms calldata award,
        bytes calldata signature
    ) external returns (bytes32 dealId);

    /// @notice As `assignAndCommit`, for more than one step.
    /// @param trace All leaves up to 16 steps, else the root and the proofs of first and last leaf.
    function assignAndCommitSteps(
        DemandCore calldata demand,
        Commitment calldata commitment,
        Terms calldata award,
        bytes calldata signature,
        bytes32[] calldata trace
    ) external returns (bytes32 dealId);

    /// @notice States the result of one step and opens the challenge window.
    /// @dev Sender: provider or its hot key, until `commitBy` plus grace.
    function commit(
        address lockedBy,
        Terms calldata terms,
        DemandCore calldata demand,
        bytes32 dealId,
        Commitment calldata commitment
    ) external;

    /// @notice As `commit`, for more than one step.
    /// @param trace All leaves up to 16 steps, else the root and the proofs of first and last leaf.
    function commitSteps(
        address lockedBy,
        Terms calldata terms,
        DemandCore calldata demand,
        bytes32 dealId,
        Commitment calldata commitment,
        bytes32[] calldata trace
    ) external;

    /// @notice Pays the provider once the window has passed, returns the rest to the requester. Anyone may call it.
    function claim(Claim calldata committed) external;

    /// @notice Many claims at once; one that cannot be paid reverts all of them, naming its index.
    function claimBatch(Claim[] calldata committed) external;

    /// @notice As `claim`, without waiting for the window.
    /// @dev `signature` is the requester's over `Accept`.
    function accept(Claim calldata committed, bytes calldata signature) external;

    /// @notice Takes back an announced deal that nobody is bound to; after `assignBy` anyone may call it.
    function cancel(Terms calldata announced) external;

    /// @notice Gives an assigned deal up in time: the requester is refunded, a hundredth of the price is burned.
    /// @dev Sender: provider or its hot key, until `commitBy` plus grace.
    function abandon(bytes32 dealId, Terms calldata terms, address lockedBy) external;

    /// @notice Ends a deal whose provider committed nothing in time: the requester is refunded, the deadline bond burned
    /// but for `expireReward`, which the caller gets. Anyone may call it.
    function expire(bytes32 dealId, Terms calldata terms, address lockedBy) external;

    /// @notice Ends an assigned deal by consent of both sides: `amount` to the provider, the rest to the requester.
    /// @dev Until `validUntil` and until `commitBy` plus grace. The signatures are over `CancelMutual`; the provider's side
    /// consents by its wallet's signature, or by sending this call itself or through a hot key.
    function cancelMutual(
        bytes32 dealId,
        Terms calldata terms,
        address lockedBy,
        uint96 amount,
        uint40 validUntil,
        bytes calldata requesterSignature,
        bytes calldata providerSignature
    ) external;

    /// @dev The names and the order of parameters of these five give them selectors behind those that deals use: what comes
    /// first is dispatched for less.
    /// @notice Counts a case against a deal and moves its bond from the challenger's free balance to the court's.
    /// @dev Sender: court, until the end of the window.
    /// @param base The bond, which is doubled for each case that is open already.
    function openChallenge(Claim calldata committed, uint96 base, address challenger)
        external
        returns (uint96 bond);

    /// @notice Counts a case as closed; with the last one the deal is committed again, its window as it was.
    /// @dev Sender: court.
    /// @param spend The verification deposit goes to the court, once.
    function closeChallenge(Claim calldata committed, bool spend) external;

    /// @notice Ends a challenged deal. OVERTURNED: the requester is refunded, the fraud bond goes to the court. VOID and
    /// SPLIT: the provider gets half of its amount, the court the verification deposit, the requester the rest; but VOID
    /// burns the other half of the amount, so that a result made to be irreproducible is no cheaper than any other.
    /// @dev Sender: court.
    /// @return toCourt What was credited to the court.
    function overrule(Claim calldata committed, Phase end) external returns (uint256 toCourt);

    /// @notice Moves free balance to the court, of one who called it. Sender: court.
    function pull(address from, uint96 amount) external;

    /// @notice Moves free balance of the court's; to zero it is burned. Sender: court.
    function pay(uint96 amount, address to) external;

    /// @notice The slot of a deal.
    /// @param deadline assignBy, then commitBy plus grace, then the end of the window. At the end it stays when a clock
    /// ended the deal (claim, expire, a verdict) and is zero when a party did (accept, abandon, cancel).
    /// @param hash Low 200 bits: of the deal id when announced, of keccak256(abi.encode(terms, lockedBy)) when assigned,
    /// of keccak256(abi.encode(terms, lockedBy, amount, commitmentDigest)) from commit on.
    function slot(bytes32 dealId)
        external
        view
        returns (Phase phase, uint8 open, uint40 deadline, uint200 hash);

    /// @notice The market's times, and the reward for expiring a deal.
    function clocks() external view returns (Clocks memory);

    /// @notice The only contract that may judge; zero: results cannot be challenged.
    function disputeCourt() external view returns (address);
}
