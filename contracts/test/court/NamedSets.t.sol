// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IPools} from "../../src/interfaces/IPools.sol";
import {CasePhase, File, Grounds, Verdict, Vote} from "../../src/types/Case.sol";
import {Phase} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Arbiters that both sides have named, of whom a number must agree.
contract NamedSetsTest is CourtTest {
    uint8 private constant QUORUM = 2;

    address[] private named;

    function test_TwoOfThreeDecide() external {
        (File memory file, Grounds memory grounds) = judging();
        bytes32 id = idOf(file);
        cast(id, 0, Vote.OVERTURN, RIGHT);
        cast(id, 2, Vote.OVERTURN, RIGHT);
        passClock(id);
        reveal(id, 0, Vote.OVERTURN, RIGHT);
        reveal(id, 2, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        uint256 before = market.totalBurned();
        court.payCommittee(rules.pool, id, 0);
        vm.assertEq(feesOf(named[0]), FEE);
        vm.assertEq(feesOf(named[1]), 0); // it stayed away, and has no stake to lose
        vm.assertEq(market.totalBurned(), before + FEE);
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(named[i]);
            pools.collect(rules.pool);
        }
        vm.assertEq(freeOf(named[0]) + freeOf(named[2]), 2 * uint256(FEE));
        assertCourtHolds(0);
    }

    function test_EverybodyNamedHasASeat() external {
        (File memory file,) = judging();
        for (uint8 i = 0; i < 3; ++i) {
            (address arbiter,) = court.seatOf(rules.pool, idOf(file), 0, i);
            vm.assertEq(arbiter, named[i]);
        }
        (, uint8 seats) = roundOf(idOf(file));
        vm.assertEq(seats, 3);
    }

    function test_WhereTheyDisagreeTheDealIsVoid() external {
        (File memory file, Grounds memory grounds) = judging();
        disagree(idOf(file));
        resolve(file, grounds);
        assertCase(file, CasePhase.DECIDED, Verdict.VOID);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.VOID);
        court.payCommittee(rules.pool, idOf(file), 0);
        vm.assertEq(feesOf(named[1]), FEE);
    }

    function test_WhereTooFewVoteTheDealIsSplit() external {
        (File memory file, Grounds memory grounds) = judging();
        bytes32 id = idOf(file);
        cast(id, 1, Vote.OVERTURN, RIGHT);
        passClock(id);
        reveal(id, 1, Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        assertCase(file, CasePhase.DECIDED, Verdict.SPLIT);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.SPLIT);
        vm.assertEq(freeOf(challenger.addr), FREE - FEE);
    }

    function test_NoAppealLeadsBeyondThem() external {
        (File memory file, Grounds memory grounds) = judging();
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        vm.expectRevert(IDisputeCourt.NoFurtherAppeal.selector);
        vm.prank(challenger.addr);
        court.appeal(file, grounds);
    }

    function test_ASetCanBeNamedWhenItIsNeeded() external {
        nameRules(QUORUM);
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        assertCase(file, CasePhase.OPEN, Verdict.NONE);
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.TooFewArbiters.selector, rules.pool));
        court.draw(file, grounds, leaf, proof);
        pools.nameSet(named);
        // Nobody is drawn, so the hash of the block may be gone.
        vm.roll(block.number + 300);
        court.draw(file, grounds, leaf, proof);
        assertCase(file, CasePhase.VOTING, Verdict.NONE);
    }

    function test_ASetSmallerThanItsQuorumDecidesNothing() external {
        nameRules(4);
        pools.nameSet(named);
        vm.assertFalse(pools.canJudge(rules.pool, 4, 0));
        vm.assertTrue(pools.canJudge(rules.pool, 3, type(uint96).max));
        (File memory file,) = voting(RIGHT);
        assertCase(file, CasePhase.OPEN, Verdict.NONE);
    }

    function test_ASetHasOneSpelling() external {
        nameRules(QUORUM);
        vm.assertEq(pools.nameSet(named), rules.pool);
        vm.assertEq(pools.nameSet(named), rules.pool);
        (named[0], named[1]) = (named[1], named[0]);
        refuse();
        named[1] = named[0];
        refuse();
        named = new address[](0);
        refuse();
        for (uint160 i = 1; i <= 16; ++i) {
            named.push(address(i));
        }
        refuse();
        named.pop();
        pools.nameSet(named);
    }

    /// @dev No stake is in a named set's pool: a hardware class has at most 64 bytes, and a set's encoding 96 or more.
    function test_NobodyEnrollsInASet() external {
        nameRules(QUORUM);
        vm.prank(challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IPools.ClassTooLong.selector, 160));
        pools.enroll(string(abi.encode(named)), 1 ether);
    }

    function nameRules(uint8 quorum) private {
        for (uint256 i = 0; i < 3; ++i) {
            named.push(arbiterAt(100 + i));
        }
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = i + 1; j < 3; ++j) {
                if (named[i] > named[j]) (named[i], named[j]) = (named[j], named[i]);
            }
        }
        rules.quorum = quorum;
        rules.pool = keccak256(abi.encode(named));
    }

    function judging() private returns (File memory file, Grounds memory grounds) {
        nameRules(QUORUM);
        pools.nameSet(named);
        return voting(RIGHT);
    }

    function refuse() private {
        address[] memory set = named;
        vm.expectRevert(IPools.BadSet.selector);
        pools.nameSet(set);
    }
}
