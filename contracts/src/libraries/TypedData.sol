// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice EIP-712 types and struct hashes of what parties sign; each contract adds its own domain.
library TypedData {
    bytes32 internal constant AWARD = keccak256(
        "Award(address requester,address provider,bytes32 demandDigest,uint96 price,uint96 verification,uint96 fraudBond,uint40 assignBy,uint40 commitBy,uint32 window,uint8 mode,uint256 salt)"
    );
    bytes32 internal constant ANNOUNCEMENT = keccak256(
        "Announcement(address requester,address provider,bytes32 demandDigest,uint96 price,uint96 verification,uint96 fraudBond,uint40 assignBy,uint40 commitBy,uint32 window,uint8 mode,uint256 salt)"
    );
    bytes32 internal constant ACCEPT = keccak256("Accept(bytes32 dealId)");
    bytes32 internal constant CANCEL_MUTUAL =
        keccak256("CancelMutual(bytes32 dealId,uint96 amount,uint40 validUntil)");
    bytes32 internal constant PEER_BINDING = keccak256("PeerBinding(address owner)");

    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    /// @notice The domain of the contract that uses this, on the chain as it is now.
    function domainSeparator() internal view returns (bytes32) {
        return
            keccak256(abi.encode(DOMAIN, keccak256("capanode"), keccak256("1"), block.chainid, address(this)));
    }

    function accept(bytes32 dealId) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACCEPT, dealId));
    }

    function cancelMutual(bytes32 dealId, uint96 amount, uint40 validUntil) internal pure returns (bytes32) {
        return keccak256(abi.encode(CANCEL_MUTUAL, dealId, amount, validUntil));
    }

    function peerBinding(address owner) internal pure returns (bytes32) {
        return keccak256(abi.encode(PEER_BINDING, owner));
    }
}
