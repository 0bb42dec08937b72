// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Weights at positions, of which one is found by any number below their sum, in logarithmic time.
/// @dev A tree of arity 4: a word holds the sums of its four children, 64 bits each. Level 0 holds the weights. It grows a
/// level where a position needs it. Weights and their sum stay below 2**64.
library SumTree {
    struct Tree {
        uint256 depth;
        mapping(uint256 levelAndIndex => uint256) words;
    }

    uint256 private constant LANE = type(uint64).max;

    /// @notice Sets the weight at a position, below 2**32, to `weight`.
    function set(Tree storage self, uint256 position, uint256 weight) internal {
        uint256 depth = self.depth;
        if (depth == 0 || position >> (2 * depth) != 0) depth = _grow(self, position);
        uint256 former = _lane(self.words[_key(0, position >> 2)], position & 3);
        for (uint256 level = 0; level < depth; ++level) {
            uint256 key = _key(level, position >> 2);
            uint256 word = self.words[key];
            uint256 shift = 64 * (position & 3);
            uint256 sum = _lane(word, position & 3) + weight - former;
            self.words[key] = (word & ~(LANE << shift)) | (sum << shift);
            position >>= 2;
        }
    }

    /// @notice The sum of all weights.
    function total(Tree storage self) internal view returns (uint256) {
        uint256 depth = self.depth;
        return depth == 0 ? 0 : _sum(self.words[_key(depth - 1, 0)], 4);
    }

    /// @notice The weight at a position, and the sum of those before it.
    function at(Tree storage self, uint256 position) internal view returns (uint256 weight, uint256 before) {
        uint256 depth = self.depth;
        if (depth == 0 || position >> (2 * depth) != 0) return (0, total(self));
        weight = _lane(self.words[_key(0, position >> 2)], position & 3);
        for (uint256 level = 0; level < depth; ++level) {
            before += _sum(self.words[_key(level, position >> 2)], position & 3);
            position >>= 2;
        }
    }

    /// @notice The position whose share of [0, total) `x` lies in, its weight, and the sum of those before it.
    function find(Tree storage self, uint256 x)
        internal
        view
        returns (uint256 position, uint256 weight, uint256 before)
    {
        for (uint256 level = self.depth; level > 0; --level) {
            uint256 word = self.words[_key(level - 1, position)];
            uint256 lane = 0;
            weight = _lane(word, 0);
            while (lane < 3 && before + weight <= x) {
                before += weight;
                weight = _lane(word, ++lane);
            }
            position = (position << 2) | lane;
        }
    }

    function _grow(Tree storage self, uint256 position) private returns (uint256 depth) {
        depth = self.depth;
        uint256 sum = total(self);
        do {
            self.words[_key(depth, 0)] = sum;
            ++depth;
        } while (position >> (2 * depth) != 0);
        self.depth = depth;
    }

    function _sum(uint256 word, uint256 lanes) private pure returns (uint256 sum) {
        for (uint256 i = 0; i < lanes; ++i) {
            sum += _lane(word, i);
        }
    }

    function _lane(uint256 word, uint256 lane) private pure returns (uint256) {
        return (word >> (64 * lane)) & LANE;
    }

    function _key(uint256 level, uint256 index) private pure returns (uint256) {
        return (level << 32) | index;
    }
}
