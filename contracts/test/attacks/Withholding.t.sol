// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict} from "../../src/types/Case.sol";
import {Claim, Commitment, DemandCore, Mode, Phase, Terms} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Attacks by leaves that are not published; the numbers are those of docs/attacks.md.
contract WithholdingTest is LongTrace {
    function test_Attack08_UpTo16StepsAllLeavesArePosted() external {
        Terms memory terms = newTerms(Mode.LOCK);
        DemandCore memory d = longCore(16);
        terms.demandDigest = keccak256(abi.encode(d));
        bytes32 dealId = assignAs(provider.addr, terms);
        bytes32 root = grow(dealId, 16);
        Commitment memory c = longCommitment(16);
        bytes32[] memory proved = provedEnds(16, root); // enough above
        vm.prank(provider.addr);
        vm.expectRevert(abi.encodeWithSelector(Trace.BadTraceLength.selector, 11, 17));
        market.commitSteps(address(0), terms, d, dealId, c, proved);
    }

    /// @dev The provider neither publishes its leaves nor shows them: its time runs out, and the deal with it.
    function test_Attack08_LeavesThatAreNeverShownOverturn() external {
        (File memory file, Grounds memory grounds) = demanded();
        vm.warp(uint256(clockOf(idOf(file))) + 1);
        bytes32[] memory nodes = below(layers.length - 1, 0);
        uint40 clock = clockOf(idOf(file));
        vm.prank(provider.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockOver.selector, clock)); // with the right ones
        court.answerLeaves(file, nodes);
        court.settle(file, grounds, new Opening[](0));
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(freeOf(requester.addr), FREE);
    }

    /// @dev A provider that has committed to no tree at all cannot show one.
    function test_Attack08_OnlyTheCommittedLeavesAreAnAnswer() external {
        (File memory file,) = demanded();
        bytes32[] memory nodes = below(layers.length - 1, 0);
        nodes[5] = keccak256("withheld");
        vm.prank(provider.addr);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.answerLeaves(file, nodes);
        assertCase(file, CasePhase.ASKED, Verdict.NONE);
    }

    function demanded() private returns (File memory file, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = long(20);
        vm.prank(challenger.addr);
        court.demandLeaves(deal, grounds, 0);
        file = File(deal, uint8(Kind.WITHHELD), 0, 0, challenger.addr, BOND, 0);
    }
}
