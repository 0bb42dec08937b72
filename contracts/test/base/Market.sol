// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../../src/interfaces/IDealMarket.sol";
import {IEscrow} from "../../src/interfaces/IEscrow.sol";
import {IStakes} from "../../src/interfaces/IStakes.sol";

/// @notice All that the market at one address offers; tests know it by this and deploy what is compiled for production.
interface Market is IDealMarket, IEscrow, IStakes {
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);
}
