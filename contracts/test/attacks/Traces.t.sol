// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../../src/interfaces/IDealMarket.sol";
import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {CasePhase, File, Grounds, Kind, LeafProof, Opening, Verdict} from "../../src/types/Case.sol";
import {Claim, Commitment, DemandCore, Mode, Phase, Terms} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Attacks on traces and what is committed of them; the numbers are those of docs/attacks.md.
contract TracesTest is LongTrace {
    /* 1 */

    function test_Attack01_TheTraceOfAnotherDealIsRefused() external {
        long(16);
        bytes32[] memory stolen = traceOf(16, 0);
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(16);
        Commitment memory c = longCommitment(16);
        vm.prank(provider.addr);
        vm.expectRevert(Trace.BadFirstLeaf.selector);
        market.commitSteps(address(0), terms, d, dealId, c, stolen);
    }

    function test_Attack01_AProvedTraceOfAnotherDealIsRefused() external {
        (, Grounds memory grounds) = long(20);
        bytes32[] memory stolen = traceOf(20, grounds.result.traceRoot);
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(20);
        Commitment memory c = longCommitment(20);
        vm.prank(provider.addr);
        vm.expectRevert(Trace.BadFirstLeaf.selector);
        market.commitSteps(address(0), terms, d, dealId, c, stolen);
    }

    function test_Attack01_ATraceFromOtherInputsIsRefused() external {
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(16);
        grow(dealId, 16);
        layers[0][0] = Trace.leaf(dealId, FIRST, keccak256("other inputs"), 0, 0, 0);
        refuseToCommit(dealId, terms, d, 16, abi.encodeWithSelector(Trace.BadFirstLeaf.selector));
    }

    function test_Attack01_ADemandOfAnotherImageOrInputIsRefused() external {
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(16);
        grow(dealId, 16);
        bytes memory mismatch =
            abi.encodeWithSelector(IDealMarket.DemandMismatch.selector, terms.demandDigest);
        (bytes32 spec, bytes32 inputs) = (d.specDigest, d.inputRoot);
        d.specDigest = keccak256("another image");
        refuseToCommit(dealId, terms, d, 16, mismatch);
        d.specDigest = spec;
        d.inputRoot = keccak256("other inputs");
        layers[0][0] = Trace.leaf(dealId, FIRST, d.inputRoot, 0, 0, 0);
        refuseToCommit(dealId, terms, d, 16, mismatch);
        d.inputRoot = inputs;
        d.steps ^= uint256(1) << 64; // other rules
        layers[0][0] = Trace.leaf(dealId, FIRST, inputs, 0, 0, 0);
        refuseToCommit(dealId, terms, d, 16, mismatch);
    }

    /* 2 */

    function test_Attack02_AResultThatIsNotTheLastLeafIsRefused() external {
        uint32[3] memory lengths = [uint32(2), 16, 20];
        for (uint256 i = 0; i < 3; ++i) {
            (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(lengths[i]);
            bytes32 root = grow(dealId, lengths[i]);
            Commitment memory c = longCommitment(lengths[i]);
            c.resultRoot = keccak256("a result that no step led to");
            bytes32[] memory trace = traceOf(lengths[i], root);
            vm.prank(provider.addr);
            vm.expectRevert(Trace.BadLastLeaf.selector);
            market.commitSteps(address(0), terms, d, dealId, c, trace);
        }
    }

    /* 3 */

    function test_Attack03_MoreStepsThanTheDemandAllowsAreRefused() external {
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(16);
        grow(dealId, 17);
        refuseToCommit(dealId, terms, d, 17, abi.encodeWithSelector(Trace.BadStepCount.selector, 17, 16));
        grow(dealId, 16);
        refuseToCommit(dealId, terms, d, 0, abi.encodeWithSelector(Trace.BadStepCount.selector, 0, 16));
    }

    function testFuzz_Attack03_NoCountBeyondTheLimitPasses(uint32 limit, uint32 count) external {
        limit = uint32(bound(limit, 1, 40));
        count = uint32(bound(count, limit + 1, 60));
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(limit);
        grow(dealId, count);
        refuseToCommit(
            dealId, terms, d, count, abi.encodeWithSelector(Trace.BadStepCount.selector, count, limit)
        );
    }

    /* 4 */

    /// @dev A node above the leaves with the shorter proof that leads from it to the root.
    function test_Attack04_ANodeDoesNotPassForALeaf() external {
        (Claim memory deal, Grounds memory grounds) = long(20);
        File memory file = File(deal, uint8(Kind.STEP), FIRST, 0, challenger.addr, 0, 0);
        open(file, grounds, RIGHT);
        passSeedBlock(idOf(file));
        bytes32[] memory proof = proofOf(1);
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i = 0; i < shorter.length; ++i) {
            shorter[i] = layers[1 + i][(1 >> i) ^ 1];
        }
        vm.assertEq(foldUp(layers[1][1], 1, shorter), grounds.result.traceRoot);
        vm.prank(challenger.addr);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), layers[1][1], shorter);
    }

    /// @dev A leaf that is a node itself, over two others: with a longer proof each of these would lead to the root from
    /// another place. Proofs have the length that the number of steps says; so nobody pays for long ones either (23).
    function test_Attack04_ALongerProofLeadsNowhere() external {
        (bytes32 forged, bytes32 beside) = (keccak256("forged"), keccak256("beside"));
        planted[3] = Trace.node(forged, beside);
        (Claim memory deal, Grounds memory grounds) = long(20);
        bytes32[] memory proof = proofOf(3);
        bytes32[] memory longer = new bytes32[](proof.length + 1);
        longer[0] = beside;
        for (uint256 i = 0; i < proof.length; ++i) {
            longer[1 + i] = proof[i];
        }
        vm.assertEq(foldUp(forged, 6, longer), grounds.result.traceRoot);
        File memory file = File(deal, uint8(Kind.STEP), FIRST + 5, 0, challenger.addr, 0, 0);
        open(file, grounds, RIGHT);
        passSeedBlock(idOf(file));
        vm.prank(challenger.addr);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.showAnswer(file, grounds, 0, Opening(RIGHT, SALT), forged, longer);
    }

    function test_Attack04_ADoubledLastLeafMakesAnotherRoot() external {
        (bytes32 dealId,,) = due(2);
        bytes32 root = grow(dealId, 2);
        bytes32[] memory odd_ = new bytes32[](3);
        bytes32[] memory doubled = new bytes32[](4);
        bytes32[] memory zero = new bytes32[](4);
        for (uint256 i = 0; i < 3; ++i) {
            odd_[i] = doubled[i] = zero[i] = layers[0][i];
        }
        doubled[3] = layers[0][2];
        vm.assertEq(Trace.treeRoot(odd_), root);
        vm.assertNotEq(Trace.treeRoot(doubled), root);
        vm.assertNotEq(Trace.treeRoot(zero), root);
    }

    function test_Attack04_ARootOfZeroIsRefused() external {
        (bytes32 dealId, Terms memory terms, DemandCore memory d) = due(20);
        grow(dealId, 20);
        Commitment memory c = longCommitment(20);
        bytes32[] memory trace = traceOf(20, 0);
        vm.prank(provider.addr);
        vm.expectRevert(Trace.BadFirstLeaf.selector);
        market.commitSteps(address(0), terms, d, dealId, c, trace);
        vm.prank(provider.addr);
        vm.expectRevert(Trace.BadFirstLeaf.selector);
        market.commitSteps(address(0), terms, d, dealId, c, new bytes32[](11));
    }

    /// @dev A case is there because of its phase: zeros in all that can be zero neither hide nor block it.
    function test_Attack04_ACaseOfZerosIsThereAndEnds() external {
        (Claim memory deal, Grounds memory grounds) = disputable();
        vm.prank(challenger.addr);
        bytes32 id = court.challenge(deal, grounds.demand, grounds.rules, Kind.STEP, 0, 0, 0);
        vm.prank(other.addr);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, id, CasePhase.OPEN));
        court.challenge(deal, grounds.demand, grounds.rules, Kind.STEP, 0, 0, 0);
        vm.roll(block.number + JOIN_BLOCKS + REVEAL_BLOCKS + 1);
        File memory file = File(deal, uint8(Kind.STEP), 0, 0, challenger.addr, BOND, 0);
        court.settle(file, grounds, new Opening[](1));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        assertPhase(deal.dealId, Phase.COMMITTED);
    }

    /* 5 */

    function test_Attack05_ASkippedStepEndsTheDeal() external {
        assertForbidden(FIRST + 8, 0);
    }

    function test_Attack05_ARepeatedStepEndsTheDeal() external {
        assertForbidden(FIRST + 6, 0);
    }

    function test_Attack05_AnEarlyEndEndsTheDeal() external {
        assertForbidden(FIRST + 7, 1);
    }

    /* MOVES */

    function due(uint32 steps) private returns (bytes32 dealId, Terms memory terms, DemandCore memory d) {
        terms = newTerms(Mode.LOCK);
        d = longCore(steps);
        terms.demandDigest = keccak256(abi.encode(d));
        dealId = assignAs(provider.addr, terms);
    }

    function refuseToCommit(
        bytes32 dealId,
        Terms memory terms,
        DemandCore memory d,
        uint32 steps,
        bytes memory why
    ) private {
        Commitment memory c = longCommitment(steps);
        bytes32[] memory trace = traceOf(steps, layers[layers.length - 1][0]);
        vm.prank(provider.addr);
        vm.expectRevert(why);
        market.commitSteps(address(0), terms, d, dealId, c, trace);
    }

    function assertForbidden(uint256 step, uint256 done) private {
        odd = LeafProof(7, step, keccak256("state"), 0, 0, done, new bytes32[](0));
        (Claim memory deal, Grounds memory grounds) = long(20);
        LeafProof memory leaf = leafAt(7, 20);
        vm.prank(challenger.addr);
        court.challengeSpec(deal, grounds, leaf);
        assertPhase(deal.dealId, Phase.OVERTURNED);
    }

    function foldUp(bytes32 value, uint256 index, bytes32[] memory proof) private pure returns (bytes32) {
        for (uint256 i = 0; i < proof.length; ++i) {
            value = (index >> i) & 1 == 0 ? Trace.node(value, proof[i]) : Trace.node(proof[i], value);
        }
        return value;
    }
}
