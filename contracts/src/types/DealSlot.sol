// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Phase} from "./Deal.sol";

/// @notice All that the chain stores of a deal: phase 8 | deposit spent 1 | open challenges 7 | deadline 40 | hash 200.
/// @dev The hash never changes from commit on. The deposit is spent when an audit has paid arbiters with it.
type DealSlot is uint256;

using DealSlotLib for DealSlot global;

library DealSlotLib {
    /// @notice Most challenges that can be open at a time.
    uint256 internal constant MAX_OPEN = 127;

    uint256 private constant PHASE_AT = 248;
    uint256 private constant OPEN_AT = 240;
    uint256 private constant DEADLINE_AT = 200;
    uint256 private constant SPENT = 0x80 << OPEN_AT;
    uint256 private constant PHASE = 0xff << PHASE_AT;
    uint256 private constant HASH = type(uint200).max;
    uint256 private constant DEADLINE = uint256(type(uint40).max) << DEADLINE_AT;

    function pack(Phase phase_, uint256 deadline_, uint200 hash_) internal pure returns (DealSlot) {
        return DealSlot.wrap((uint256(phase_) << PHASE_AT) | (deadline_ << DEADLINE_AT) | hash_);
    }

    function phase(DealSlot self) internal pure returns (Phase) {
        return Phase(DealSlot.unwrap(self) >> PHASE_AT);
    }

    function open(DealSlot self) internal pure returns (uint256) {
        return (DealSlot.unwrap(self) >> OPEN_AT) & MAX_OPEN;
    }

    function spent(DealSlot self) internal pure returns (bool) {
        return DealSlot.unwrap(self) & SPENT != 0;
    }

    function deadline(DealSlot self) internal pure returns (uint40) {
        return uint40(DealSlot.unwrap(self) >> DEADLINE_AT);
    }

    function hash(DealSlot self) internal pure returns (uint200) {
        return uint200(DealSlot.unwrap(self));
    }

    /// @notice Whether the deal is in this phase.
    function isIn(DealSlot self, Phase phase_) internal pure returns (bool) {
        return DealSlot.unwrap(self) >> PHASE_AT == uint256(phase_);
    }

    /// @notice Whether the deal is in this phase and bound to this hash.
    function isAt(DealSlot self, Phase phase_, uint200 hash_) internal pure returns (bool) {
        return DealSlot.unwrap(self) & (PHASE | HASH) == (uint256(phase_) << PHASE_AT) | hash_;
    }

    /// @notice With one more open challenge; the caller knows that there is room.
    function challenged(DealSlot self) internal pure returns (DealSlot) {
        return _in(DealSlot.wrap(DealSlot.unwrap(self) + (1 << OPEN_AT)), Phase.CHALLENGED);
    }

    /// @notice With one open challenge less, of a deal that has one; committed again at none.
    function unchallenged(DealSlot self) internal pure returns (DealSlot less) {
        less = DealSlot.wrap(DealSlot.unwrap(self) - (1 << OPEN_AT));
        return less.open() == 0 ? _in(less, Phase.COMMITTED) : less;
    }

    function spend(DealSlot self) internal pure returns (DealSlot) {
        return DealSlot.wrap(DealSlot.unwrap(self) | SPENT);
    }

    /// @notice The end of a deal by a clock or a verdict: the deadline that had passed stays readable.
    function endByClock(DealSlot self, Phase end) internal pure returns (DealSlot) {
        return _in(self, end);
    }

    /// @notice The end of a deal by a party's will: the deadline becomes zero.
    function endByParty(DealSlot self, Phase end) internal pure returns (DealSlot) {
        return DealSlot.wrap((DealSlot.unwrap(self) & ~(PHASE | DEADLINE)) | (uint256(end) << PHASE_AT));
    }

    function _in(DealSlot self, Phase phase_) private pure returns (DealSlot) {
        return DealSlot.wrap((DealSlot.unwrap(self) & ~PHASE) | (uint256(phase_) << PHASE_AT));
    }
}
