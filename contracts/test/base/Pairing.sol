// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CourtClocks} from "../../src/types/Case.sol";
import {MarketTest} from "./MarketTest.sol";

/// @notice A market and the court that it names, each of which knows the other from the start.
abstract contract Pairing is MarketTest {
    function deployCourt(CourtClocks memory times) internal returns (IDisputeCourt court) {
        address predicted = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        market = deployMarket(address(token), predicted);
        court = IDisputeCourt(deploy("DisputeCourt.sol:DisputeCourt", abi.encode(market, times)));
        vm.assertEq(address(court), predicted);
    }
}
