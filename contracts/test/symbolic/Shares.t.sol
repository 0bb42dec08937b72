// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Judgement} from "../../src/libraries/Judgement.sol";
import {DealSlotLib} from "../../src/types/DealSlot.sol";

/// @notice Sums that `settle` rests on, for all amounts at once: nothing underflows, nothing is paid that is not there.
/// @dev For halmos, see `make symbolic`. Any panic fails.
contract SharesTest {
    function check_RewardsStayWithinWhatIsLeft(uint96 bond, uint96 price, uint96 allowance, uint128 left)
        external
        pure
    {
        (uint256 gas, uint256 bounty) = Judgement.rewards(bond, price, allowance, left);
        assert(gas + bounty <= left);
        assert(gas <= allowance && bounty <= price && bounty <= bond);
    }

    function check_Upheld(uint96 bonds, uint96 lostAppeals, uint128 fees, uint96 allowance) external pure {
        uint256 pot = uint256(lostAppeals) + bonds;
        if (fees > pot) return;
        uint256 left = pot - fees;
        uint256 gas = left < allowance ? left : allowance;
        assert(fees + gas + (left - gas) == pot);
    }

    /// @dev A committee agrees on at most one finding: two thirds are more than a half.
    function check_NeededIsTwoThirds(uint8 seats) external pure {
        if (seats == 0) return;
        uint256 needed = Judgement.needed(seats, 0);
        assert(3 * needed >= 2 * uint256(seats) && 3 * (needed - 1) < 2 * uint256(seats));
        assert(2 * needed > seats && needed <= seats);
        assert(Judgement.seats(0) == 3 && Judgement.seats(1) == 7 && Judgement.seats(2) == 15);
    }

    /// @dev Each open case doubles the next bond, and no bit is lost on the way.
    function check_BondsDouble(uint96 base) external pure {
        for (uint256 open = 0; open < DealSlotLib.MAX_OPEN; ++open) {
            uint256 doubled = uint256(base) << open;
            assert(doubled >> open == base);
            assert(uint256(base) << (open + 1) == 2 * doubled);
        }
    }
}
