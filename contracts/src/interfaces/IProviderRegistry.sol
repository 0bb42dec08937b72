// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim} from "../types/Deal.sol";

/// @notice What a provider's deals came to; counts deals, but for `paid`, which is base units.
struct Reputation {
    /// @dev Paid after the window.
    uint32 finalized;
    /// @dev Paid early because the requester accepted.
    uint32 accepted;
    uint32 abandoned;
    uint32 expired;
    uint32 cancelled;
    uint96 paid;
    /// @dev Found wrong by the court.
    uint32 overturned;
    /// @dev Found not to be reproducible; half paid.
    uint32 voided;
    /// @dev Not judged in time; half paid.
    uint32 split;
}

/// @notice Which nodes a provider runs, and what its ended deals came to. No money passes here.
/// @dev A peer is named by the address of its secp256k1 key. The key itself is in the event, so that anyone can
/// compute the libp2p peer id.
interface IProviderRegistry {
    /// @param peerKey The compressed public key, 33 bytes.
    /// @param offersDigest Digest of the standing offers; zero when there are none.
    event NodeRegistered(
        address indexed owner, address indexed peer, bytes peerKey, string hardwareClass, bytes32 offersDigest
    );
    event NodeUpdated(
        address indexed owner, address indexed peer, string hardwareClass, bytes32 offersDigest
    );
    event NodeRemoved(address indexed owner, address indexed peer);
    /// @param phase The phase in which the deal ended, as in `Phase`.
    event DealRecorded(bytes32 indexed dealId, address indexed provider, uint8 phase);

    /// @notice The peer key did not sign this binding.
    error BadPeerSignature(address peer, address recovered);
    /// @notice The peer is bound to `owner` already.
    error PeerTaken(address peer, address owner);
    /// @notice The sender does not own this peer.
    error NotOwner(address peer, address owner);
    /// @notice A hardware class has at most 64 bytes.
    error ClassTooLong(uint256 length);
    /// @notice The deal was recorded before.
    error AlreadyRecorded(bytes32 dealId);
    /// @notice The deal has not ended, or never had a provider.
    error NotEnded(bytes32 dealId);
    /// @notice What was passed is not what the deal's slot binds.
    error DealMismatch(bytes32 dealId);

    /// @notice Binds the peer with public key (x, y) to the sender.
    /// @dev `signature` is the peer key's over EIP-712 `PeerBinding(address owner)` in this contract's domain.
    function register(
        uint256 x,
        uint256 y,
        bytes calldata signature,
        string calldata hardwareClass,
        bytes32 offersDigest
    ) external returns (address peer);

    /// @notice Changes what a node of the sender's offers.
    function updateNode(address peer, string calldata hardwareClass, bytes32 offersDigest) external;

    /// @notice Ends the binding of a node of the sender's.
    function removeNode(address peer) external;

    /// @notice Counts an ended deal towards its provider's reputation, once. Anyone may call it.
    /// @dev For deals that ended before a commitment, `amount` and `commitmentDigest` are zero.
    function record(Claim calldata deal) external;

    /// @notice Who owns a peer and since when; zeros when nobody does.
    function nodeOf(address peer) external view returns (address owner, uint40 since);

    /// @notice What the recorded deals of `provider` came to.
    function reputationOf(address provider) external view returns (Reputation memory);

    /// @notice Whether a deal has been counted.
    function recorded(bytes32 dealId) external view returns (bool);
}
