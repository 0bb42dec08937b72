// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Judgement} from "../../src/libraries/Judgement.sol";

/// @notice The shares in each ending of a case, for all amounts at once: what is paid and burned is what came in.
/// @dev For halmos, see `make symbolic`. Any panic fails, so nothing underflows.
contract EndingsTest {
    function check_ALostBondBurnsTwoFifths(uint96 bond) external pure {
        uint256 left = Judgement.spendable(bond);
        assert(left <= bond);
        unchecked {
            assert(5 * (bond - left) >= 2 * uint256(bond));
        }
    }

    /// @dev What a seat gets is at most what was agreed, and its part of the pot.
    function check_AFeeIsAtMostItsPart(uint96 agreed, uint128 pot, uint8 seats) external pure {
        uint256 fee = Judgement.fee(agreed, pot, seats);
        assert(fee <= agreed);
        assert(seats == 0 ? fee == 0 : fee <= uint256(pot) / seats);
    }

    function check_ThreeFeesFitThePot(uint96 agreed, uint96 pot) external pure {
        uint256 fee = Judgement.fee(agreed, pot, 3);
        unchecked {
            assert(3 * fee <= pot); // far from an overflow, the check of which the solver would not end
        }
    }

    /// @dev `_overturn`: fees are paid first, then gas and bounty from what they leave.
    function check_WinnersShareWhatFeesLeave(
        uint96 bond,
        uint96 price,
        uint96 allowance,
        uint128 pot,
        uint128 fees
    ) external pure {
        if (fees > pot) return;
        uint256 left = uint256(pot) - fees;
        (uint256 gas, uint256 bounty) = Judgement.rewards(bond, price, allowance, left);
        assert(gas + (bounty + (left - gas - bounty)) == left);
    }

    /// @dev `_letGo`: of the deposit and lost appeals, fees are paid, and what is left of the deposit goes back.
    function check_VoidAndSplitReturnTheDeposit(uint96 deposit, uint96 appeals, uint128 fees) external pure {
        uint256 pot = uint256(deposit) + appeals;
        if (fees > pot) return;
        uint256 left = pot - fees;
        uint256 returned = left < deposit ? left : deposit;
        uint256 burned = left - returned;
        assert(fees + (returned + burned) == pot);
        assert(returned <= deposit && burned <= appeals);
    }

    /// @dev `_letGo`: a split keeps one seat's fee of each bond.
    function check_ASplitKeepsAFeeOfABond(uint96 bond, uint96 kept) external pure {
        uint256 lost = kept < bond ? kept : bond;
        uint256 back = bond - lost;
        assert(lost + back == bond && lost <= kept);
    }

    /// @dev `overrule`: half of what was committed is paid; where the result is void, the other half burns.
    function check_ThePriceOfADealWithoutVerdict(uint96 price, uint96 amount, bool isVoid) external pure {
        if (amount > price) return;
        uint256 paid = amount / 2;
        uint256 returned = price - paid;
        uint256 burned = isVoid ? amount - paid : 0;
        returned -= burned;
        assert(paid + returned + burned == price);
        assert(isVoid ? returned == price - amount : paid <= returned);
    }
}
