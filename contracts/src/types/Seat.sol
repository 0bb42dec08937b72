// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice One seat of a committee: state 8 | position in the pool 32 | content 216.
/// @dev The content is the low bits of the hidden vote, then the finding. Its key holds the pool, so that one who names
/// another pool finds nothing. Zero: no such seat, or paid.
type Seat is uint256;

using SeatLib for Seat global;

library SeatLib {
    uint256 internal constant DRAWN = 1;
    uint256 internal constant CAST = 2;
    uint256 internal constant REVEALED = 3;

    uint256 private constant STATE_AT = 248;
    uint256 private constant POSITION_AT = 216;
    uint256 private constant CONTENT = type(uint216).max;

    function key(bytes32 pool, bytes32 caseId, uint256 round, uint256 number)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(pool, caseId, round, number));
    }

    function drawn(uint256 position_) internal pure returns (Seat) {
        return Seat.wrap((DRAWN << STATE_AT) | (position_ << POSITION_AT));
    }

    function state(Seat self) internal pure returns (uint256) {
        return Seat.unwrap(self) >> STATE_AT;
    }

    function position(Seat self) internal pure returns (uint256) {
        return uint32(Seat.unwrap(self) >> POSITION_AT);
    }

    /// @notice What was found; zero where nothing was revealed.
    function finding(Seat self) internal pure returns (uint256) {
        return self.state() == REVEALED ? Seat.unwrap(self) & CONTENT : 0;
    }

    function cast(Seat self, bytes32 hidden) internal pure returns (Seat) {
        return _with(self, CAST, uint256(hidden) & CONTENT);
    }

    /// @notice Whether this is the vote that was cast here and not yet revealed.
    function hides(Seat self, bytes32 hidden) internal pure returns (bool) {
        return self.state() == CAST && Seat.unwrap(self) & CONTENT == uint256(hidden) & CONTENT;
    }

    function reveal(Seat self, uint256 finding_) internal pure returns (Seat) {
        return _with(self, REVEALED, finding_);
    }

    function _with(Seat self, uint256 state_, uint256 content) private pure returns (Seat) {
        uint256 place = Seat.unwrap(self) & (uint256(type(uint32).max) << POSITION_AT);
        return Seat.wrap((state_ << STATE_AT) | place | content);
    }
}
