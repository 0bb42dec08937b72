// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Market} from "../base/Market.sol";

/// @notice A wallet that signs by ERC-1271 with one key, given its signature backwards.
contract ContractWallet is IERC1271 {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function fund(Market market, uint256 amount) external {
        IERC20(market.token()).approve(address(market), amount);
        market.deposit(amount);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes memory plain = new bytes(signature.length);
        for (uint256 i = 0; i < plain.length; ++i) {
            plain[i] = signature[plain.length - 1 - i];
        }
        (address recovered,,) = ECDSA.tryRecover(digest, plain);
        return recovered == _owner ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @notice Answers every signature question with garbage.
contract BrokenWallet {
    fallback() external {
        assembly {
            mstore(0, not(0))
            return(0, 0x20)
        }
    }
}
