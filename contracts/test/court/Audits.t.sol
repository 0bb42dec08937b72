// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../../src/interfaces/IDealMarket.sol";
import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {Files} from "../../src/libraries/Files.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Mode, Phase} from "../../src/types/Deal.sol";
import {LongTrace} from "../base/LongTrace.sol";

/// @notice Looks that the lot falls on and the requester's deposit pays.
contract AuditsTest is LongTrace {
    uint32 private constant STEPS = 16;

    /* THE LOT */

    function testFuzz_TheLotFallsByItsShare(bytes32 hash, uint32 ppm) external {
        vm.assume(hash != 0); // no block has it: zero says that the hash is gone
        rules.auditPpm = uint32(bound(ppm, 0, 1_000_000));
        (File memory file, Grounds memory grounds) = begun(STEPS);
        uint256 lot = lotOf(file, hash);
        drawBy(file, grounds, hash);
        if (lot % 1_000_000 < rules.auditPpm) {
            assertCase(file, CasePhase.VOTING, Verdict.NONE);
            assertPhase(file.deal.dealId, Phase.CHALLENGED);
        } else {
            assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
            assertPhase(file.deal.dealId, Phase.COMMITTED);
        }
    }

    function test_AResultThatTheLotSparesIsPaidAsEver() external {
        rules.auditPpm = 0;
        (File memory file, Grounds memory grounds) = begun(STEPS);
        drawBy(file, grounds, keccak256("a block"));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        afterWindow();
        market.claim(file.deal);
        vm.assertEq(freeOf(provider.addr), PRICE);
        vm.assertEq(freeOf(requester.addr), FREE - PRICE);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_OnceForADeal() external {
        (File memory file, Grounds memory grounds) = begun(STEPS);
        refuse(
            file.deal,
            grounds,
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.DRAWING)
        );
        rules.auditPpm = 0;
        (file, grounds) = begun(STEPS);
        drawBy(file, grounds, keccak256("a block"));
        refuse(
            file.deal,
            grounds,
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.CLOSED)
        );
    }

    /// @dev Else a provider would use up the one lot of its deal by terms of its own, which spare it.
    function test_OnlyAboutWhatTheDealIs() external {
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        Claim memory made = abi.decode(abi.encode(deal), (Claim));
        Grounds memory spared = abi.decode(abi.encode(grounds), (Grounds));
        spared.rules.auditPpm = 0;
        spared.demand.steps = (uint256(uint192(uint256(keccak256(abi.encode(spared.rules))))) << 64)
            | uint64(grounds.demand.steps);
        made.terms.demandDigest = keccak256(abi.encode(spared.demand));
        refuse(made, spared, abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, deal.dealId));
        made = abi.decode(abi.encode(deal), (Claim));
        made.commitmentDigest = keccak256("another commitment");
        refuse(made, grounds, abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, deal.dealId));
        court.beginAudit(deal, grounds.demand, grounds.rules);
    }

    function test_NotBeforeTheCommitment() external {
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        deal.terms = newTerms(Mode.LOCK);
        deal.terms.demandDigest = keccak256(abi.encode(grounds.demand));
        deal.dealId = assignAs(provider.addr, deal.terms);
        refuse(deal, grounds, abi.encodeWithSelector(IDisputeCourt.GroundsMismatch.selector, deal.dealId));
    }

    function test_OfASealedDealByItsRequesterOnly() external {
        rules.sealed_ = true;
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        vm.prank(stranger.addr);
        refuse(deal, grounds, abi.encodeWithSelector(IDisputeCourt.SealedDeal.selector, requester.addr));
        vm.prank(requester.addr);
        court.beginAudit(deal, grounds.demand, grounds.rules);
    }

    function test_AClassThatNobodyJudgesHasNone() external {
        rules.class_ = 0;
        (Claim memory deal, Grounds memory grounds) = long(STEPS);
        refuse(deal, grounds, abi.encodeWithSelector(IDisputeCourt.NotChallengeable.selector, deal.dealId));
    }

    /* A HASH THAT IS GONE */

    function test_AMissedLotLapses() external {
        (File memory file, Grounds memory grounds) = begun(STEPS);
        uint40 seedBlock = clockOf(idOf(file));
        vm.roll(uint256(seedBlock) + 256);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, uint256(seedBlock) + 256));
        court.settle(file, grounds, new Opening[](0));
        vm.roll(uint256(seedBlock) + 257);
        (bytes32 leaf, bytes32[] memory proof) = claimedAt(FIRST);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NoSeed.selector, seedBlock));
        court.draw(file, grounds, leaf, proof);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputeCourt.WrongCasePhase.selector, idOf(file), CasePhase.DRAWING)
        );
        court.retarget(file);

        court.settle(file, grounds, new Opening[](0));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        vm.assertEq(market.totalBurned(), 0);
        assertCourtHolds(0);
    }

    function test_TheLotWaitsForItsBlock() external {
        (File memory file, Grounds memory grounds) = begun(STEPS);
        uint40 seedBlock = clockOf(idOf(file));
        vm.roll(seedBlock);
        (bytes32 leaf, bytes32[] memory proof) = claimedAt(FIRST);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NoSeed.selector, seedBlock));
        court.draw(file, grounds, leaf, proof);
    }

    /// @dev Money never waits for a lot: only an audit that has begun to look holds the deal.
    function test_ADealIsClaimedWhileItsLotWaits() external {
        (File memory file, Grounds memory grounds) = begun(STEPS);
        afterWindow();
        market.claim(file.deal);
        vm.assertEq(freeOf(provider.addr), PRICE);
        passSeedBlock(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = fallenLot(file);
        vm.expectRevert(
            abi.encodeWithSelector(IDealMarket.WrongPhase.selector, file.deal.dealId, Phase.FINALIZED)
        );
        court.draw(file, grounds, leaf, proof);
        vm.roll(block.number + 256);
        court.settle(file, grounds, new Opening[](0));
        assertCase(file, CasePhase.CLOSED, Verdict.LAPSED);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_NoLotFallsAfterTheWindow() external {
        (File memory file, Grounds memory grounds) = begun(STEPS);
        (,, uint40 ends,) = market.slot(file.deal.dealId);
        vm.warp(uint256(ends) + 1);
        passSeedBlock(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = fallenLot(file);
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.TooLate.selector, ends));
        court.draw(file, grounds, leaf, proof);
    }

    function test_ADealWaitsForItsAudit() external {
        (File memory file,) = fallen(STEPS);
        (,, uint40 ends,) = market.slot(file.deal.dealId);
        afterWindow();
        vm.expectRevert(
            abi.encodeWithSelector(
                IDealMarket.NotClaimable.selector, 0, file.deal.dealId, Phase.CHALLENGED, ends
            )
        );
        market.claim(file.deal);
    }

    /* VERDICTS */

    function test_AnUpheldAuditPaysItsArbitersFromTheDepositOnce() external {
        (File memory file, Grounds memory grounds) = fallen(STEPS);
        (bytes32 leaf,) = leafOf(file, grounds);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        settle(file, grounds, 0);
        assertCase(file, CasePhase.CLOSED, Verdict.UPHELD);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
        court.payCommittee(POOL, idOf(file), 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.NothingToPay.selector, idOf(file), 0));
        court.payCommittee(POOL, idOf(file), 0);
        vm.assertEq(allFees(), 3 * uint256(FEE));
        afterWindow();
        market.claim(file.deal);
        vm.assertEq(freeOf(provider.addr), PRICE);
        vm.assertEq(freeOf(requester.addr), FREE - PRICE - VERIFICATION);
        vm.assertEq(market.totalBurned(), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AnOverturnedAuditPaysNoBounty() external {
        (File memory file, Grounds memory grounds) = fallen(STEPS);
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, 0);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(requester.addr), FREE);
        vm.assertEq(stakeOf(provider.addr), STAKE - FRAUD_BOND);
        vm.assertEq(market.totalBurned(), FRAUD_BOND - 3 * FEE);
        court.payCommittee(POOL, idOf(file), 0);
        vm.assertEq(allFees(), 3 * uint256(FEE));
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AVoidAuditPaysFromTheDeposit() external {
        (File memory file, Grounds memory grounds) = fallen(STEPS);
        allVote(idOf(file), Vote.UNREPRODUCIBLE, 0);
        resolve(file, grounds);
        settle(file, grounds, 0);
        assertPhase(file.deal.dealId, Phase.VOID);
        vm.assertEq(freeOf(requester.addr), FREE - PRICE - VERIFICATION);
        court.payCommittee(POOL, idOf(file), 0);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_AnAuditThatNobodyVotesInSplits() external {
        (File memory file, Grounds memory grounds) = fallen(STEPS);
        (,, uint40 ends,) = market.slot(file.deal.dealId);
        uint256 last = uint256(ends) + MAX_DISPUTE;
        vm.warp(last);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.ClockRunning.selector, last));
        court.settle(file, grounds, new Opening[](0));
        vm.warp(last + 1);
        court.settle(file, grounds, new Opening[](0));
        assertPhase(file.deal.dealId, Phase.SPLIT);
        vm.assertEq(freeOf(requester.addr), FREE - PRICE / 2 - VERIFICATION);
        court.payCommittee(POOL, idOf(file), 0);
        // Nobody has earned the deposit, and all three lose as much again.
        vm.assertEq(market.totalBurned(), 2 * uint256(VERIFICATION));
        assertCourtHolds(0);
        assertAllAccounted();
    }

    /// @dev What an audit has spent, a later verdict does not spend again.
    function test_TheDepositIsSpentOnce() external {
        (File memory file, Grounds memory grounds) = fallen(1);
        (bytes32 leaf,) = leafOf(file, grounds);
        File memory later = challengeBy(challenger.addr, file.deal, grounds, Kind.STEP, RIGHT);
        vm.assertEq(later.bond, 2 * uint256(BOND));
        show(later, grounds, RIGHT);
        allVote(idOf(file), Vote.UPHOLD, leaf);
        resolve(file, grounds);
        settle(file, grounds, 0);
        allVote(idOf(later), Vote.UNREPRODUCIBLE, 0);
        resolve(later, grounds);
        settle(later, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.VOID);
        vm.assertEq(freeOf(requester.addr), FREE - PRICE - VERIFICATION);
        vm.assertEq(freeOf(challenger.addr), FREE);
        court.payCommittee(POOL, idOf(file), 0);
        court.payCommittee(POOL, idOf(later), 0);
        vm.assertEq(allFees(), 3 * uint256(FEE));
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_OnlyTheStepOfTheLotIsShown() external {
        (File memory file, Grounds memory grounds) = begun(STEPS);
        passSeedBlock(idOf(file));
        fallenLot(file);
        (bytes32 leaf, bytes32[] memory proof) = claimedAt(audited == FIRST ? FIRST + 1 : FIRST);
        vm.expectRevert(IDisputeCourt.BadProof.selector);
        court.draw(file, grounds, leaf, proof);
    }

    function test_TooFewArbitersLeaveTheLotWaiting() external {
        rules.pool = keccak256("a class of nobody");
        (File memory file, Grounds memory grounds) = begun(STEPS);
        passSeedBlock(idOf(file));
        (bytes32 leaf, bytes32[] memory proof) = fallenLot(file);
        vm.expectRevert(abi.encodeWithSelector(IDisputeCourt.TooFewArbiters.selector, rules.pool));
        court.draw(file, grounds, leaf, proof);
        assertPhase(file.deal.dealId, Phase.COMMITTED);
    }

    /* MOVES */

    function begun(uint32 steps) private returns (File memory file, Grounds memory grounds) {
        Claim memory deal;
        (deal, grounds) = steps == 1 ? disputable() : long(steps);
        vm.prank(stranger.addr);
        court.beginAudit(deal, grounds.demand, grounds.rules);
        file = File(deal, uint8(Kind.AUDIT), 0, 0, address(0), 0, 0);
    }

    /// @dev An audit whose committee is drawn.
    function fallen(uint32 steps) private returns (File memory file, Grounds memory grounds) {
        (file, grounds) = begun(steps);
        drawBy(file, grounds, keccak256("a block"));
    }

    function drawBy(File memory file, Grounds memory grounds, bytes32 hash) private {
        uint40 seedBlock = clockOf(idOf(file));
        vm.roll(uint256(seedBlock) + 1);
        vm.setBlockhash(seedBlock, hash);
        audited = stepOf(lotOf(file, hash), grounds.result.stepCount);
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        court.draw(file, grounds, leaf, proof);
    }

    /// @dev The leaf that the lot falls on, once its block is mined.
    function fallenLot(File memory file) private returns (bytes32, bytes32[] memory) {
        audited = stepOf(lotOf(file, blockhash(clockOf(idOf(file)))), STEPS);
        return claimedAt(audited);
    }

    function claimedAt(uint256 step) private view returns (bytes32, bytes32[] memory) {
        return (layers[0][step - FIRST + 1], proofOf(step - FIRST + 1));
    }

    function lotOf(File memory file, bytes32 hash) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(Files.LOT, idOf(file), hash)));
    }

    function stepOf(uint256 lot, uint256 steps) private pure returns (uint32) {
        return uint32(FIRST + (lot / 1_000_000) % steps);
    }

    function refuse(Claim memory deal, Grounds memory grounds, bytes memory why) private {
        vm.expectRevert(why);
        court.beginAudit(deal, grounds.demand, grounds.rules);
    }
}
