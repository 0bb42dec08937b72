// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {Claim, Phase} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

/// @notice The court's side of the market belongs to its court, and to nobody where there is none.
contract ChallengeTest is MarketTest {
    function testFuzz_IsNotPossibleWithoutACourt(address anyone) external {
        vm.assume(anyone != address(0));
        Claim memory c = committed(PRICE);
        refuse(anyone);
        market.openChallenge(c, 1 ether, anyone);
        refuse(anyone);
        market.closeChallenge(c, false);
        refuse(anyone);
        market.overrule(c, Phase.OVERTURNED);
        refuse(anyone);
        market.pull(requester.addr, 1);
        refuse(anyone);
        market.pay(1, anyone);
        refuse(anyone);
        market.pay(1, address(0));
        assertPhase(c.dealId, Phase.COMMITTED);
        vm.assertEq(market.disputeCourt(), address(0));
    }

    function refuse(address sender) private {
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.NotCourt.selector, sender));
        vm.prank(sender);
    }
}
