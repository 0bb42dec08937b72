// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SumTree} from "../../src/libraries/SumTree.sol";
import {Test} from "../base/Test.sol";

/// @notice The tree against a plain list.
contract SumTreeTest is Test {
    using SumTree for SumTree.Tree;

    SumTree.Tree private tree;
    uint256[] private plain;

    function testFuzz_FindsWhatAListFinds(uint64[24] memory weights, uint8[24] memory places, uint256 x)
        external
    {
        for (uint256 i = 0; i < 90; ++i) {
            plain.push(0);
        }
        for (uint256 i = 0; i < weights.length; ++i) {
            uint256 place = places[i] % plain.length;
            uint256 weight = weights[i] >> 8; // their sum stays below 2**64
            tree.set(place, weight);
            plain[place] = weight;
        }
        uint256 total = 0;
        for (uint256 i = 0; i < plain.length; ++i) {
            (uint256 weight, uint256 before) = tree.at(i);
            vm.assertEq(weight, plain[i]);
            vm.assertEq(before, total);
            total += plain[i];
        }
        vm.assertEq(tree.total(), total);
        if (total == 0) return;
        x = bound(x, 0, total - 1);
        (uint256 position, uint256 share, uint256 start) = tree.find(x);
        vm.assertEq(share, plain[position]);
        vm.assertLe(start, x);
        vm.assertTrue(x < start + share);
    }

    function test_GrowsWhereItIsNeeded() external {
        tree.set(0, 5);
        tree.set(3, 7);
        tree.set(4, 11);
        tree.set(1_000, 13);
        vm.assertEq(tree.total(), 36);
        (uint256 position,,) = tree.find(35);
        vm.assertEq(position, 1_000);
        tree.set(1_000, 0);
        vm.assertEq(tree.total(), 23);
        (position,,) = tree.find(22);
        vm.assertEq(position, 4);
    }

    function test_NothingIsThereAtFirst() external view {
        vm.assertEq(tree.total(), 0);
        (uint256 weight, uint256 before) = tree.at(77);
        vm.assertEq(weight + before, 0);
    }
}
