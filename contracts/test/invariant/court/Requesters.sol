// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, Mode, Phase, Terms} from "../../../src/types/Deal.sol";
import {Offers} from "./Offers.sol";

/// @notice What requesters do by themselves; their signed awards are in the providers' hands.
abstract contract Requesters is Offers {
    uint256 internal constant REQUESTER_MOVES = 3;

    function _requesterMove(uint256 n, uint256 which, uint256 seed) internal {
        if (n == 0) _announce(seed);
        else if (n == 1) _cancel(which);
        else _accept(which);
    }

    function _announce(uint256 seed) private {
        if (!_hasRoom()) return;
        (uint256 deal, Terms memory terms) = _offer(seed, Mode.FIRST, address(0));
        vm.prank(terms.requester);
        _deals[deal].claim.dealId = market.announce(terms, "");
        _deals[deal].phase = Phase.ANNOUNCED;
        _did("announce");
    }

    function _cancel(uint256 which) private {
        (bool found, uint256 deal) = _pick(which, Phase.ANNOUNCED);
        if (!found || which % 3 != 0) return;
        Terms memory terms = _deals[deal].claim.terms;
        vm.prank(terms.requester);
        market.cancel(terms);
        _close(deal, Phase.CANCELLED);
        _did("cancel");
    }

    /// @dev The requester is content, though it may be wrong.
    function _accept(uint256 which) private {
        (bool found, uint256 deal) = _pick(which, Phase.COMMITTED);
        if (!found || _deals[deal].open != 0 || which % 4 != 0) return;
        Claim memory claim_ = _deals[deal].claim;
        Before memory b = _beforeDeal(deal);
        vm.prank(claim_.terms.requester);
        market.accept(claim_, "");
        _paid(deal, b);
        _did("accept");
    }
}
