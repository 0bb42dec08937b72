// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title TestToken
/// @notice Payment token of development networks: anyone mints what it likes.
contract TestToken is ERC20, ERC20Permit {
    constructor() ERC20("capanode test token", "TEST") ERC20Permit("capanode test token") {}

    /// @notice Gives `to` new tokens.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
