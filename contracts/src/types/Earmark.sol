// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What a payer has set aside for one provider, in one word: readyAt 40 | thawing 96 | amount 96.
/// @dev `thawing` is what the payer wants back from `readyAt` on; until it takes that, all of `amount` can be debited.
type Earmark is uint256;

using EarmarkLib for Earmark global;

library EarmarkLib {
    uint256 private constant THAWING_AT = 96;
    uint256 private constant READY_AT = 192;

    function amount(Earmark self) internal pure returns (uint256) {
        return uint96(Earmark.unwrap(self));
    }

    function thawing(Earmark self) internal pure returns (uint96) {
        return uint96(Earmark.unwrap(self) >> THAWING_AT);
    }

    function readyAt(Earmark self) internal pure returns (uint40) {
        return uint40(Earmark.unwrap(self) >> READY_AT);
    }

    /// @notice With `value` more; the caller knows that the sum fits 96 bits.
    function add(Earmark self, uint256 value) internal pure returns (Earmark) {
        unchecked {
            return Earmark.wrap(Earmark.unwrap(self) + value);
        }
    }

    /// @notice With `value` less; the caller has checked that there is as much.
    function sub(Earmark self, uint256 value) internal pure returns (Earmark) {
        unchecked {
            return Earmark.wrap(Earmark.unwrap(self) - value);
        }
    }

    /// @notice With another thaw; zeros for none.
    function withThaw(Earmark self, uint96 thawing_, uint40 readyAt_) internal pure returns (Earmark) {
        return
            Earmark.wrap(self.amount() | (uint256(thawing_) << THAWING_AT) | (uint256(readyAt_) << READY_AT));
    }
}
