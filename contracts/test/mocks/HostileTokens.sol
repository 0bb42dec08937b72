// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {Market} from "../base/Market.sol";

/// @notice Keeps a hundredth of each transfer.
contract FeeToken is ERC20("fee", "FEE") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        uint256 fee = from == address(0) ? 0 : amount / 100;
        super._update(from, to, amount - fee);
        if (fee != 0) super._update(from, address(this), fee);
    }
}

/// @notice Moves nothing to an account on its list.
contract BlockingToken is ERC20("blocking", "BLOCK") {
    mapping(address => bool) public isBlocked;

    function block_(address account) external {
        isBlocked[account] = true;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (isBlocked[to]) revert ERC20InvalidReceiver(to);
        super._update(from, to, amount);
    }
}

/// @notice Says false instead of reverting, and moves nothing.
contract FalseToken is ERC20("false", "FALSE") {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @notice Says that it has moved what it has not.
contract LyingToken is ERC20("lying", "LIE") {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }
}

/// @notice Calls the market back, as somebody with money in it, while it moves.
contract ReentrantToken is ERC20("reentrant", "RE") {
    Market public market;
    bytes public call;
    bool public inside;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function attack(Market market_, bytes calldata call_) external {
        (market, call) = (market_, call_);
        _approve(address(this), address(market_), type(uint256).max);
    }

    function depositOwn(Market market_, uint256 amount) external {
        _approve(address(this), address(market_), type(uint256).max);
        market_.deposit(amount);
    }

    function beginWithdrawOwn(Market market_, uint96 amount) external {
        market_.beginWithdraw(amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (address(market) == address(0) || inside) return;
        inside = true;
        (bool success, bytes memory answer) = address(market).call(call);
        inside = false;
        if (!success) {
            assembly {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }
}
