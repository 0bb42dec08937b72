// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CasePhase, Verdict} from "./Case.sol";

/// @notice All that the chain stores of a case: phase 8 | ten counts of 4 | seats in all 8 | time 40 | hash 160.
/// @dev Once a case is closed, the fee per seat takes the place of the hash.
type CaseSlot is uint256;

/// @notice One count of a case, by where it lies.
/// @dev VERDICT: a `Verdict`. SIZE: 0, 1, 2 for committees of 3, 7, 15. SEATS, CAST, REVEALED: of the current round.
enum Count {
    VERDICT,
    APPEALS,
    REDRAWS,
    ROUND,
    CHALLENGERS,
    SHOWN,
    SEATS,
    CAST,
    REVEALED,
    SIZE
}

using CaseSlotLib for CaseSlot global;

library CaseSlotLib {
    uint256 private constant PHASE_AT = 248;
    uint256 private constant FIRST_COUNT_AT = 244;
    uint256 private constant TOTAL_AT = 200;
    uint256 private constant TIME_AT = 160;
    uint256 private constant HASH = type(uint160).max;

    function pack(CasePhase phase_, uint256 time_, uint160 hash_) internal pure returns (CaseSlot) {
        return CaseSlot.wrap((uint256(phase_) << PHASE_AT) | (time_ << TIME_AT) | hash_);
    }

    function phase(CaseSlot self) internal pure returns (CasePhase) {
        return CasePhase(CaseSlot.unwrap(self) >> PHASE_AT);
    }

    function verdict(CaseSlot self) internal pure returns (Verdict) {
        return Verdict(self.count(Count.VERDICT));
    }

    function count(CaseSlot self, Count which) internal pure returns (uint256) {
        return (CaseSlot.unwrap(self) >> _at(which)) & 0xf;
    }

    /// @notice Seats drawn in all rounds.
    function total(CaseSlot self) internal pure returns (uint256) {
        return uint8(CaseSlot.unwrap(self) >> TOTAL_AT);
    }

    function time(CaseSlot self) internal pure returns (uint256) {
        return uint40(CaseSlot.unwrap(self) >> TIME_AT);
    }

    /// @notice The hash of the file, or the fee per seat of a closed case.
    function hash(CaseSlot self) internal pure returns (uint160) {
        return uint160(CaseSlot.unwrap(self));
    }

    function to(CaseSlot self, CasePhase phase_, uint256 time_) internal pure returns (CaseSlot) {
        uint256 kept = CaseSlot.unwrap(self) & ~((0xff << PHASE_AT) | (uint256(type(uint40).max) << TIME_AT));
        return CaseSlot.wrap(kept | (uint256(phase_) << PHASE_AT) | (time_ << TIME_AT));
    }

    /// @notice With a count set; the caller knows that it is below 16.
    function with(CaseSlot self, Count which, uint256 value) internal pure returns (CaseSlot) {
        uint256 at = _at(which);
        return CaseSlot.wrap((CaseSlot.unwrap(self) & ~(0xf << at)) | (value << at));
    }

    /// @notice With one more; the caller knows that it stays below 16.
    function more(CaseSlot self, Count which) internal pure returns (CaseSlot) {
        return CaseSlot.wrap(CaseSlot.unwrap(self) + (1 << _at(which)));
    }

    /// @notice With the seats of a new round; five rounds have 55 of them at most.
    function seated(CaseSlot self, uint256 seats) internal pure returns (CaseSlot) {
        CaseSlot fresh = self.with(Count.SEATS, seats).with(Count.CAST, 0).with(Count.REVEALED, 0);
        return CaseSlot.wrap(CaseSlot.unwrap(fresh) + (seats << TOTAL_AT));
    }

    function closed(CaseSlot self, Verdict verdict_, uint96 fee) internal pure returns (CaseSlot) {
        CaseSlot ended = self.to(CasePhase.CLOSED, 0).with(Count.VERDICT, uint256(verdict_));
        return CaseSlot.wrap((CaseSlot.unwrap(ended) & ~HASH) | fee);
    }

    function _at(Count which) private pure returns (uint256) {
        return FIRST_COUNT_AT - 4 * uint256(which);
    }
}
