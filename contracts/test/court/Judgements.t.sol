// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Judgement} from "../../src/libraries/Judgement.sol";
import {Verdict, Vote} from "../../src/types/Case.sol";
import {Test} from "../base/Test.sol";

/// @notice The count of votes and the shares of money, for any votes and any amounts.
contract JudgementsTest is Test {
    bytes32 private constant CLAIMED = keccak256("claimed");
    bytes32 private constant FOUND = keccak256("found");

    function test_CommitteesHaveThreeSevenFifteenSeats() external pure {
        vm.assertEq(Judgement.seats(0), 3);
        vm.assertEq(Judgement.seats(1), 7);
        vm.assertEq(Judgement.seats(2), 15);
    }

    function testFuzz_TwoThirdsAreNeeded(uint8 seats) external pure {
        uint256 needed = Judgement.needed(seats, 0);
        vm.assertTrue(3 * needed >= 2 * uint256(seats));
        vm.assertTrue(needed == 0 || 3 * (needed - 1) < 2 * uint256(seats));
        vm.assertEq(Judgement.needed(seats, 4), 4);
    }

    /// @dev No two findings can both have two thirds of the seats.
    function testFuzz_TheFindingOfMostIsFound(uint8[15] memory votes, bool exact, bool onData) external pure {
        uint256[] memory findings = new uint256[](15);
        for (uint256 i = 0; i < 15; ++i) {
            findings[i] = Judgement.finding(Vote(votes[i] % 5), leafOf(votes[i]));
        }
        uint256[] memory before = abi.decode(abi.encode(findings), (uint256[]));
        (uint256 most, uint256 count, uint256 valid) = Judgement.tally(findings, CLAIMED, exact, onData);
        uint256 sensible = 0;
        uint256 same = 0;
        for (uint256 i = 0; i < 15; ++i) {
            bool sense = Judgement.makesSense(before[i], CLAIMED, exact, onData);
            if (sense) ++sensible;
            if (sense && before[i] == most) ++same;
            uint256 others = 0;
            for (uint256 j = 0; j < 15; ++j) {
                if (before[j] == before[i]) ++others;
            }
            if (sense) vm.assertLe(others, count);
        }
        vm.assertEq(valid, sensible);
        vm.assertEq(count, same);
    }

    function test_WhatAFindingMeans() external pure {
        vm.assertEq(uint256(verdictOf(Vote.UPHOLD)), uint256(Verdict.UPHELD));
        vm.assertEq(uint256(verdictOf(Vote.OVERTURN)), uint256(Verdict.OVERTURNED));
        vm.assertEq(uint256(verdictOf(Vote.UNAVAILABLE)), uint256(Verdict.OVERTURNED));
        vm.assertEq(uint256(verdictOf(Vote.UNREPRODUCIBLE)), uint256(Verdict.VOID));
    }

    function testFuzz_AFindingKeepsVoteAndLeaf(uint8 vote, bytes32 leaf) external pure {
        Vote said = Vote(vote % 5);
        uint256 finding = Judgement.finding(said, leaf);
        vm.assertEq(uint256(Judgement.voteOf(finding)), uint256(said));
        vm.assertTrue(Judgement.finds(finding, leaf));
        vm.assertEq(uint256(Judgement.leafOf(finding)), uint256(leaf) & type(uint208).max);
        vm.assertLe(finding, type(uint216).max);
    }

    function testFuzz_TwoFifthsOfALostBondBurn(uint96 bond) external pure {
        uint256 burned = bond - Judgement.spendable(bond);
        vm.assertTrue(5 * burned >= 2 * uint256(bond));
        vm.assertTrue(burned == 0 || 5 * (burned - 1) < 2 * uint256(bond));
    }

    function testFuzz_RewardsStayWithinWhatIsLeft(uint96 bond, uint96 price, uint96 gas, uint96 left)
        external
        pure
    {
        (uint256 paidGas, uint256 bounty) = Judgement.rewards(bond, price, gas, left);
        vm.assertLe(paidGas + bounty, left);
        vm.assertLe(paidGas, gas);
        vm.assertLe(bounty, price);
        vm.assertLe(bounty, bond / 4);
        if (left >= uint256(gas) + bond / 4) {
            vm.assertEq(paidGas, gas);
            vm.assertEq(bounty, bond / 4 < price ? bond / 4 : price);
        }
    }

    function testFuzz_FeesStayWithinThePot(uint96 agreed, uint128 pot, uint8 seats) external pure {
        uint256 fee = Judgement.fee(agreed, pot, seats);
        vm.assertLe(fee, agreed);
        vm.assertLe(fee * seats, pot);
        if (seats != 0 && fee < agreed) vm.assertTrue((fee + 1) * seats > pot);
    }

    function verdictOf(Vote vote) private pure returns (Verdict) {
        return Judgement.verdictOf(Judgement.finding(vote, FOUND));
    }

    function leafOf(uint8 seed) private pure returns (bytes32) {
        uint256 which = (seed / 5) % 3;
        return which == 0 ? CLAIMED : which == 1 ? FOUND : bytes32(0);
    }
}
