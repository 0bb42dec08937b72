// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {Claim, Phase} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";

contract ChallengeTest is MarketTest {
    function testFuzz_IsNotPossibleWithoutACourt(uint256 step, bytes32 answer) external {
        Claim memory c = committed(PRICE);
        vm.expectRevert(IDealMarket.NotDisputable.selector);
        market.challenge(c, step, answer);
        assertPhase(c.dealId, Phase.COMMITTED);
        vm.assertEq(market.court(), address(0));
    }

    function testFuzz_AMarketThatCannotAskACourtTakesNone(address court) external {
        vm.assume(court != address(0));
        vm.expectRevert(IDealMarket.NotDisputable.selector);
        deployMarket(address(token), court);
    }
}
