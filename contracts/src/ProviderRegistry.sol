// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {IDealMarket} from "./interfaces/IDealMarket.sol";
import {IProviderRegistry, Reputation} from "./interfaces/IProviderRegistry.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Claim, Phase} from "./types/Deal.sol";
import {DealSheet, DealSheetLib} from "./types/DealSheet.sol";

/// @title ProviderRegistry
/// @notice Nodes and reputation, off the path of deals: nothing here can stop one.
contract ProviderRegistry is IProviderRegistry, EIP712 {
    /// @notice Longest hardware class, in bytes.
    uint256 public constant MAX_CLASS = 64;

    struct Node {
        address owner;
        uint40 since;
    }

    /// @notice The market whose deals are recorded here.
    IDealMarket public immutable market;

    /// @inheritdoc IProviderRegistry
    mapping(bytes32 dealId => bool) public recorded;
    mapping(address peer => Node) private _nodes;
    mapping(address provider => Reputation) private _reputations;

    constructor(IDealMarket market_) EIP712("capanode", "1") {
        market = market_;
    }

    /// @inheritdoc IProviderRegistry
    function register(
        uint256 x,
        uint256 y,
        bytes calldata signature,
        string calldata hardwareClass,
        bytes32 offersDigest
    ) external returns (address peer) {
        _requireClass(hardwareClass);
        peer = address(uint160(uint256(keccak256(abi.encode(x, y)))));
        // Zero when it is none, whatever the reason.
        // slither-disable-next-line unused-return
        (address recovered,,) =
            ECDSA.tryRecoverCalldata(_hashTypedDataV4(TypedData.peerBinding(msg.sender)), signature);
        if (recovered != peer) revert BadPeerSignature(peer, recovered);
        if (_nodes[peer].owner != address(0)) revert PeerTaken(peer, _nodes[peer].owner);

        _nodes[peer] = Node(msg.sender, uint40(block.timestamp));
        emit NodeRegistered(msg.sender, peer, _compressed(x, y), hardwareClass, offersDigest);
    }

    /// @inheritdoc IProviderRegistry
    function updateNode(address peer, string calldata hardwareClass, bytes32 offersDigest) external {
        _requireClass(hardwareClass);
        _requireOwner(peer);
        emit NodeUpdated(msg.sender, peer, hardwareClass, offersDigest);
    }

    /// @inheritdoc IProviderRegistry
    function removeNode(address peer) external {
        _requireOwner(peer);
        delete _nodes[peer];
        emit NodeRemoved(msg.sender, peer);
    }

    /// @inheritdoc IProviderRegistry
    function record(Claim calldata deal) external {
        if (recorded[deal.dealId]) revert AlreadyRecorded(deal.dealId);
        address provider = deal.terms.provider;
        // The count of open challenges is zero at every end.
        // slither-disable-next-line unused-return
        (Phase phase,, uint40 deadline, uint200 hash) = market.slot(deal.dealId);
        if (provider == address(0) || phase < Phase.FINALIZED) revert NotEnded(deal.dealId);
        bool paid = phase == Phase.FINALIZED;
        DealSheet sheet = DealSheetLib.open(deal);
        bool committed = paid || phase >= Phase.OVERTURNED;
        uint200 expected = committed ? sheet.committed() : sheet.assigned(deal.lockedBy);
        if (hash != expected) revert DealMismatch(deal.dealId);

        recorded[deal.dealId] = true;
        Reputation storage reputation = _reputations[provider];
        bool byClock = deadline != 0;
        if (paid) {
            reputation.paid += deal.amount;
            if (byClock) ++reputation.finalized;
            else ++reputation.accepted;
        } else if (phase == Phase.CANCELLED) {
            ++reputation.cancelled;
        } else if (phase == Phase.OVERTURNED) {
            ++reputation.overturned;
        } else if (phase == Phase.VOID) {
            ++reputation.voided;
        } else if (phase == Phase.SPLIT) {
            ++reputation.split;
        } else if (byClock) {
            ++reputation.expired;
        } else {
            ++reputation.abandoned;
        }
        emit DealRecorded(deal.dealId, provider, uint8(phase));
    }

    /// @inheritdoc IProviderRegistry
    function nodeOf(address peer) external view returns (address owner, uint40 since) {
        Node storage node = _nodes[peer];
        return (node.owner, node.since);
    }

    /// @inheritdoc IProviderRegistry
    function reputationOf(address provider) external view returns (Reputation memory) {
        return _reputations[provider];
    }

    function _requireOwner(address peer) private view {
        if (_nodes[peer].owner != msg.sender) revert NotOwner(peer, _nodes[peer].owner);
    }

    function _requireClass(string calldata hardwareClass) private pure {
        uint256 length = bytes(hardwareClass).length;
        if (length > MAX_CLASS) revert ClassTooLong(length);
    }

    function _compressed(uint256 x, uint256 y) private pure returns (bytes memory) {
        return abi.encodePacked(y & 1 == 0 ? bytes1(0x02) : bytes1(0x03), x);
    }
}
