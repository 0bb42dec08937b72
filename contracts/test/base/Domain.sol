// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {TypedData} from "../../src/libraries/TypedData.sol";
import {Terms} from "../../src/types/Deal.sol";

/// @notice What parties sign under a market's domain, written apart from the contracts so that the two check each other.
library Domain {
    function digest(address market, bytes32 structHash) internal view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("capanode"),
                keccak256("1"),
                block.chainid,
                market
            )
        );
        return MessageHashUtils.toTypedDataHash(separator, structHash);
    }

    function award(address market, Terms memory terms) internal view returns (bytes32) {
        return digest(market, keccak256(abi.encode(TypedData.AWARD, terms)));
    }
}
