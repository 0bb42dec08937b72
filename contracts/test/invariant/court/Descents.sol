// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute} from "./Books.sol";

/// @notice The nodes that one move of a forced reveal shows.
abstract contract Descents {
    uint256 private constant LEVELS = 3;

    function _below(Dispute storage d, bytes32[] memory nodes)
        internal
        view
        returns (bytes32[] memory shown)
    {
        uint256 levels = _levelsBelow(d, nodes.length);
        shown = new bytes32[](1 << levels);
        for (uint256 i = 0; i < shown.length; ++i) {
            shown[i] = nodes[(d.node << levels) + i];
        }
    }

    function _levelsBelow(Dispute storage d, uint256 nodes) internal view returns (uint256 levels) {
        for (uint256 node = d.node; 2 * node < nodes && levels < LEVELS; node *= 2) {
            ++levels;
        }
    }
}
