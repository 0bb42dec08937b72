// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice One party's money in one word: paid elsewhere 1 | locked 79 | stake 80 | free 96.
/// @dev `locked` is a part of `stake`. The top bit says that earnings go to another account, so that the common case
/// does not have to look that up.
type Account is uint256;

using AccountLib for Account global;

library AccountLib {
    /// @notice Largest stake, so that the locked part fits its field.
    uint256 internal constant MAX_STAKE = (1 << 79) - 1;

    uint256 private constant FREE = type(uint96).max;
    uint256 private constant STAKE_AT = 96;
    uint256 private constant LOCKED_AT = 176;
    uint256 private constant ELSEWHERE = 1 << 255;

    function free(Account self) internal pure returns (uint256) {
        return Account.unwrap(self) & FREE;
    }

    function stake(Account self) internal pure returns (uint256) {
        return (Account.unwrap(self) >> STAKE_AT) & type(uint80).max;
    }

    function locked(Account self) internal pure returns (uint256) {
        return (Account.unwrap(self) >> LOCKED_AT) & MAX_STAKE;
    }

    function unlocked(Account self) internal pure returns (uint256) {
        unchecked {
            return self.stake() - self.locked(); // the locked part never exceeds the whole
        }
    }

    function paidElsewhere(Account self) internal pure returns (bool) {
        return Account.unwrap(self) & ELSEWHERE != 0;
    }

    // The functions below move amounts within a word. Each caller has checked that the field it takes from holds
    // the amount and that the field it adds to has room, hence no carry ever crosses fields.

    function addFree(Account self, uint256 amount) internal pure returns (Account) {
        return _add(self, amount);
    }

    function subFree(Account self, uint256 amount) internal pure returns (Account) {
        return _sub(self, amount);
    }

    function addStake(Account self, uint256 amount) internal pure returns (Account) {
        return _add(self, amount << STAKE_AT);
    }

    function subStake(Account self, uint256 amount) internal pure returns (Account) {
        return _sub(self, amount << STAKE_AT);
    }

    function lock(Account self, uint256 amount) internal pure returns (Account) {
        return _add(self, amount << LOCKED_AT);
    }

    function unlock(Account self, uint256 amount) internal pure returns (Account) {
        return _sub(self, amount << LOCKED_AT);
    }

    function payElsewhere(Account self, bool elsewhere) internal pure returns (Account) {
        uint256 word = Account.unwrap(self);
        return Account.wrap(elsewhere ? word | ELSEWHERE : word & ~ELSEWHERE);
    }

    function _add(Account self, uint256 shifted) private pure returns (Account) {
        unchecked {
            return Account.wrap(Account.unwrap(self) + shifted);
        }
    }

    function _sub(Account self, uint256 shifted) private pure returns (Account) {
        unchecked {
            return Account.wrap(Account.unwrap(self) - shifted);
        }
    }
}
