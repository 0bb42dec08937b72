// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Judgement} from "../../src/libraries/Judgement.sol";
import {Vote} from "../../src/types/Case.sol";

/// @notice What a first committee, of three, agrees on, whatever its votes.
/// @dev For halmos, see `make symbolic`. The count compares each with each, which is nine branches.
contract TallyTest {
    uint256 private constant LIMIT = (uint256(type(Vote).max) + 1) << 208;

    /// @custom:halmos --loop 10
    function check_TwoOfThreeDecide(uint256 a, uint256 b, uint256 c, bytes32 claimed) external pure {
        if (a >= LIMIT || b >= LIMIT || c >= LIMIT) return;
        uint256[] memory findings = new uint256[](3);
        (findings[0], findings[1], findings[2]) = (a, b, c);
        (uint256 most, uint256 count, uint256 valid) = Judgement.tally(findings, claimed, true, false);
        assert(count <= valid && valid <= 3);
        assert(valid == 0 ? count == 0 && most == 0 : count >= 1);
        if (count < Judgement.needed(3, 0)) return;
        assert(Judgement.makesSense(most, claimed, true, false));
        assert((a == most && b == most) || (a == most && c == most) || (b == most && c == most));
    }
}
