// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IEscrow} from "../../src/interfaces/IEscrow.sol";
import {CasePhase, File, Grounds, Kind, Opening, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase} from "../../src/types/Deal.sol";
import {Market} from "../base/Market.sol";
import {CourtTest} from "../base/CourtTest.sol";
import {BlockingToken, FeeToken, ReentrantToken} from "../mocks/HostileTokens.sol";

/// @notice Attacks by who receives money, and by the money itself; the numbers are those of docs/attacks.md.
contract ReceiversTest is CourtTest {
    /* 23 */

    /// @dev Every party's account has code that reverts whatever it is called with, as an account with delegated code may.
    function test_Attack23_AccountsThatRevertStopNoVerdict() external {
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        address[4] memory parties = [requester.addr, provider.addr, challenger.addr, arbiters[0]];
        for (uint256 i = 0; i < 4; ++i) {
            vm.etch(parties[i], hex"5f5ffd"); // revert(0, 0)
        }
        settle(file, grounds, RIGHT);
        court.payCommittee(POOL, idOf(file), 0);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);
        vm.assertEq(freeOf(challenger.addr), FREE + PRICE + GAS);
        vm.assertEq(freeOf(requester.addr), FREE);
        assertCourtHolds(0);
        assertAllAccounted();
    }

    function test_Attack23_AnAccountWithCodeStillSignsByItsKey() external {
        vm.etch(requester.addr, hex"5f5ffd");
        (Claim memory deal,) = disputable();
        assertPhase(deal.dealId, Phase.COMMITTED);
    }

    /// @dev Who settles pays gas for each challenger, so their number has a bound.
    function test_Attack23_ChallengersAreBounded() external {
        (File memory file, Grounds memory grounds) = opened(RIGHT);
        for (uint256 i = 1; i < 8; ++i) {
            joinBy(other.addr, file, grounds, RIGHT);
        }
        vm.prank(other.addr);
        vm.expectRevert(IDisputeCourt.TooManyChallengers.selector);
        court.join(file, grounds.demand, grounds.rules, RIGHT);
    }

    /* 39 */

    function test_Attack39_ATokenThatKeepsAFeeIsRefused() external {
        FeeToken fee = new FeeToken();
        Market taxed = deployMarket(address(fee), address(0));
        fee.mint(stranger.addr, 1_000);
        vm.startPrank(stranger.addr);
        fee.approve(address(taxed), 1_000);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InexactDeposit.selector, 1_000, 990));
        taxed.deposit(1_000);
    }

    /// @dev While it is moved, the token withdraws what is counted into the deposit.
    function test_Attack39_ATokenThatCallsBackFindsTheDoorClosed() external {
        ReentrantToken evil = new ReentrantToken();
        Market called = deployMarket(address(evil), address(0));
        evil.mint(address(evil), 100);
        evil.mint(stranger.addr, 100);
        evil.depositOwn(called, 50);
        evil.beginWithdrawOwn(called, 50);
        vm.warp(block.timestamp + FREE_THAW);
        evil.attack(called, abi.encodeCall(IEscrow.withdraw, (address(evil))));
        vm.startPrank(stranger.addr);
        evil.approve(address(called), 10);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        called.deposit(10);
    }

    /// @dev Verdicts move no token, so a list of blocked accounts stops none; and who is on it withdraws to another.
    function test_Attack39_ABlockedAccountStopsNoVerdictAndLosesNothing() external {
        BlockingToken list = new BlockingToken();
        vm.etch(address(token), address(list).code);
        BlockingToken blocking = BlockingToken(address(token));
        (File memory file, Grounds memory grounds) = voting(RIGHT);
        blocking.block_(challenger.addr);
        blocking.block_(requester.addr);
        allVote(idOf(file), Vote.OVERTURN, RIGHT);
        resolve(file, grounds);
        settle(file, grounds, RIGHT);
        assertPhase(file.deal.dealId, Phase.OVERTURNED);

        uint256 won = freeOf(challenger.addr);
        vm.assertEq(won, FREE + PRICE + GAS);
        vm.startPrank(challenger.addr);
        market.beginWithdraw(uint96(won));
        vm.warp(block.timestamp + FREE_THAW);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, challenger.addr));
        market.withdraw(challenger.addr);
        market.withdraw(stranger.addr);
        vm.assertEq(token.balanceOf(stranger.addr), won);
    }
}
