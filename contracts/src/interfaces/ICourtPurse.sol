// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The court's account in the market, for its pools.
interface ICourtPurse {
    /// @notice Only the court's pools may do this.
    error NotPools(address sender);

    /// @notice Moves free balance of one who staked it to the court. Sender: pools.
    function take(address from, uint96 amount) external;

    /// @notice Moves stake or fees from the court to a free balance. Sender: pools.
    function give(uint96 amount, address to) external;
}
