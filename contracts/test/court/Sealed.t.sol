// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {CasePhase, File, Grounds, Kind, LeafProof, Verdict} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Deals whose inputs and result only their requester can read.
contract SealedTest is LongTrace {
    uint32 private constant STEPS = 17;

    function test_OnlyTheRequesterChallenges() external {
        (Claim memory deal, Grounds memory grounds) = sealedDeal();
        vm.prank(challenger.addr);
        vm.expectRevert(refusal());
        court.challenge(deal, grounds.demand, grounds.rules, Kind.STEP, FIRST, 0, RIGHT);
        vm.prank(provider.addr);
        vm.expectRevert(refusal());
        court.challenge(deal, grounds.demand, grounds.rules, Kind.DATA, FIRST, 0, RIGHT);
        File memory file = File(deal, uint8(Kind.STEP), FIRST, 0, requester.addr, 0, 0);
        open(file, grounds, RIGHT);
        assertCase(file, CasePhase.OPEN, Verdict.NONE);
    }

    function test_NobodyJoinsTheRequester() external {
        (Claim memory deal, Grounds memory grounds) = sealedDeal();
        File memory file = File(deal, uint8(Kind.STEP), FIRST, 0, requester.addr, 0, 0);
        open(file, grounds, RIGHT);
        vm.prank(challenger.addr);
        vm.expectRevert(refusal());
        court.join(file, grounds.demand, grounds.rules, RIGHT);
    }

    function test_OnlyTheRequesterDemandsLeaves() external {
        (Claim memory deal, Grounds memory grounds) = sealedDeal();
        vm.prank(challenger.addr);
        vm.expectRevert(refusal());
        court.demandLeaves(deal, grounds, 0);
        vm.prank(requester.addr);
        court.demandLeaves(deal, grounds, 0);
        assertPhase(deal.dealId, Phase.CHALLENGED);
    }

    function test_OnlyTheRequesterShowsAForbiddenLeaf() external {
        odd = LeafProof(3, FIRST + 3, keccak256("state"), 0, 0, 1, new bytes32[](0));
        (Claim memory deal, Grounds memory grounds) = sealedDeal();
        LeafProof memory leaf = leafAt(3, STEPS);
        vm.prank(challenger.addr);
        vm.expectRevert(refusal());
        court.challengeSpec(deal, grounds, leaf);
        vm.prank(requester.addr);
        court.challengeSpec(deal, grounds, leaf);
        assertPhase(deal.dealId, Phase.OVERTURNED);
    }

    /// @dev Whether a deal is sealed is in its rules, which the demand binds.
    function test_NobodyUnsealsADeal() external {
        (Claim memory deal, Grounds memory grounds) = sealedDeal();
        grounds.rules.sealed_ = false;
        vm.prank(challenger.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, deal.dealId));
        court.challenge(deal, grounds.demand, grounds.rules, Kind.STEP, FIRST, 0, RIGHT);
    }

    function sealedDeal() private returns (Claim memory, Grounds memory) {
        rules.sealed_ = true;
        return long(STEPS);
    }

    function refusal() private view returns (bytes memory) {
        return abi.encodeWithSelector(IDisputeCourt.SealedDeal.selector, requester.addr);
    }
}
