// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Docket} from "./Docket.sol";

/// @notice Time, which waits for those who are honest and awake: they do what would be too late afterwards.
abstract contract Clock is Docket {
    /// @dev Time passes in pieces that are shorter than any clock of the court, so that each duty comes up once.
    uint256 private constant PIECE = 60;
    uint256 private constant BLOCKS = 6;

    /* MOVES */

    uint256 internal constant CLOCK_MOVES = 3;

    function _clockMove(uint256 n, uint256 which, uint256 seed) internal {
        if (n == 0) _wait(which);
        else if (n == 1) _waitForBlocks(which);
        else _sleep(seed);
    }

    function _wait(uint256 which) private {
        _pass(1 + which % 180);
        _did("wait");
    }

    function _waitForBlocks(uint256 which) private {
        _mine(1 + which % 12);
        _did("mine");
    }

    /// @dev Everybody sleeps, for so long that hashes and clocks run out.
    function _sleep(uint256 seed) private {
        if (seed % 8 != 0) return;
        _waive();
        vm.roll(block.number + HASHES_KEPT + 44);
        if (seed & 16 == 0) vm.warp(block.timestamp + _clocks.maxDispute + 1_201);
        _did("sleep");
    }

    /* TIME PASSES */

    function _pass(uint256 time) internal {
        uint256 until = block.timestamp + time;
        while (block.timestamp < until) {
            _attend(PIECE, 0);
            uint256 next = block.timestamp + PIECE;
            vm.warp(next < until ? next : until);
        }
    }

    function _mine(uint256 blocks) internal {
        uint256 until = block.number + blocks;
        while (block.number < until) {
            _attend(0, BLOCKS);
            uint256 next = block.number + BLOCKS;
            vm.roll(next < until ? next : until);
        }
    }

    function _mineTo(uint256 number) internal {
        if (block.number < number) _mine(number - block.number);
    }

    function _passTo(uint256 time) internal {
        if (block.timestamp < time) _pass(time - block.timestamp);
    }

    /// @dev Whoever has a duty in a case that ends by `time`, or by block `number`, does it now.
    function _serve(uint256 c, uint256 time, uint256 number) internal virtual;

    function _attend(uint256 time, uint256 blocks) private {
        uint256[] memory open = _openCases; // a copy: a case about a step can take the place of another
        for (uint256 i = 0; i < open.length; ++i) {
            _serve(open[i], block.timestamp + time, block.number + blocks);
        }
    }
}
