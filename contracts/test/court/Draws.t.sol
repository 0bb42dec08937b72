// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CourtTest} from "../base/CourtTest.sol";

/// @notice Who is drawn, for any seed.
contract DrawsTest is CourtTest {
    function testFuzz_NobodyTwiceAndNoParty(bytes32 seed, uint256 seats, uint256 first, uint256 second)
        external
        view
    {
        seats = bound(seats, 1, 15);
        address[] memory parties = new address[](3);
        parties[0] = arbiters[first % ARBITERS];
        parties[1] = arbiters[second % ARBITERS]; // perhaps the same
        parties[2] = stranger.addr;
        (uint256[] memory positions, address[] memory drawn) = pools.drawn(POOL, seed, seats, parties);
        uint256 room = parties[0] == parties[1] ? ARBITERS - 1 : ARBITERS - 2;
        vm.assertEq(drawn.length, seats < room ? seats : room);
        for (uint256 i = 0; i < drawn.length; ++i) {
            vm.assertTrue(drawn[i] != parties[0] && drawn[i] != parties[1]);
            vm.assertEq(pools.walletAt(POOL, positions[i]), drawn[i]);
            for (uint256 j = 0; j < i; ++j) {
                vm.assertTrue(drawn[i] != drawn[j]);
            }
        }
    }

    /// @dev Nine parts of sixteen of the stake are drawn first about nine times in sixteen.
    function test_ByStake() external {
        addArbiter(ARBITERS, 9 * ARBITER_STAKE);
        address[] memory nobody = new address[](0);
        uint256 firsts = 0;
        for (uint256 i = 0; i < 1_600; ++i) {
            (, address[] memory drawn) = pools.drawn(POOL, keccak256(abi.encode(i)), 1, nobody);
            if (drawn[0] == arbiters[ARBITERS]) ++firsts;
        }
        vm.assertTrue(firsts > 840 && firsts < 960); // 900, and three deviations of twenty
    }

    function test_NobodyFromAnEmptyPool() external view {
        (uint256[] memory positions,) =
            pools.drawn(keccak256("nobody"), keccak256("seed"), 3, new address[](0));
        vm.assertEq(positions.length, 0);
    }
}
