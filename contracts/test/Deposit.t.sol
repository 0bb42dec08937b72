// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Market} from "./base/Market.sol";
import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MarketTest} from "./base/MarketTest.sol";
import {FalseToken, FeeToken, LyingToken, ReentrantToken} from "./mocks/HostileTokens.sol";

contract DepositTest is MarketTest {
    bytes32 private constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    function testFuzz_CreditsTheSender(uint256 amount) external {
        amount = bound(amount, 0, 1e27);
        deposit(stranger.addr, amount);
        vm.assertEq(freeOf(stranger.addr), amount);
        assertSettled();
    }

    function test_EmitsDeposited() external {
        token.mint(stranger.addr, 5);
        vm.startPrank(stranger.addr);
        token.approve(address(market), 5);
        vm.expectEmit(address(market));
        emit IEscrow.Deposited(stranger.addr, 5);
        market.deposit(5);
    }

    function test_RefusesMoreThan96BitsInAll() external {
        uint256 over = uint256(type(uint96).max) + 1 - token.balanceOf(address(market));
        token.mint(stranger.addr, over);
        vm.startPrank(stranger.addr);
        token.approve(address(market), over);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.AmountTooLarge.selector, uint256(1) << 96, type(uint96).max)
        );
        market.deposit(over);
    }

    function test_TakesAPermit() external {
        token.mint(stranger.addr, 7);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(stranger.key, permitDigest(7));
        vm.prank(stranger.addr);
        market.depositWithPermit(7, block.timestamp, v, r, s);
        vm.assertEq(freeOf(stranger.addr), 7);
    }

    function test_TakesAPermitThatSomebodyElseHasSent() external {
        token.mint(stranger.addr, 7);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(stranger.key, permitDigest(7));
        token.permit(stranger.addr, address(market), 7, block.timestamp, v, r, s);
        vm.prank(stranger.addr);
        market.depositWithPermit(7, block.timestamp, v, r, s);
        vm.assertEq(freeOf(stranger.addr), 7);
    }

    function test_RefusesAFeeOnTransfer() external {
        FeeToken fee = new FeeToken();
        Market other = deployMarket(address(fee), address(0));
        fee.mint(stranger.addr, 1_000);
        vm.startPrank(stranger.addr);
        fee.approve(address(other), 1_000);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InexactDeposit.selector, 1_000, 990));
        other.deposit(1_000);
    }

    function test_RefusesATokenThatSaysFalse() external {
        IERC20 liar = new FalseToken();
        Market other = deployMarket(address(liar), address(0));
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, liar));
        other.deposit(1);
    }

    function test_RefusesATokenThatMovesNothing() external {
        Market other = deployMarket(address(new LyingToken()), address(0));
        vm.expectRevert(abi.encodeWithSelector(IEscrow.InexactDeposit.selector, 1, 0));
        other.deposit(1);
    }

    function test_RefusesToBeReenteredByADeposit() external {
        (ReentrantToken evil, Market other) = reentrant();
        evil.attack(other, abi.encodeCall(IEscrow.deposit, (1)));
        vm.startPrank(stranger.addr);
        evil.approve(address(other), 10);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        other.deposit(10);
    }

    function test_RefusesToBeReenteredByAWithdrawal() external {
        (ReentrantToken evil, Market other) = reentrant();
        evil.depositOwn(other, 50);
        evil.beginWithdrawOwn(other, 50);
        vm.warp(block.timestamp + FREE_THAW);
        evil.attack(other, abi.encodeCall(IEscrow.withdraw, (address(evil))));
        vm.startPrank(stranger.addr);
        evil.approve(address(other), 10);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        other.deposit(10);
    }

    function test_NeedsAToken() external {
        vm.expectRevert(IEscrow.ZeroAddress.selector);
        deployMarket(address(0), address(0));
    }

    function reentrant() private returns (ReentrantToken evil, Market other) {
        evil = new ReentrantToken();
        other = deployMarket(address(evil), address(0));
        evil.mint(address(evil), 100);
        evil.mint(stranger.addr, 100);
    }

    function permitDigest(uint256 amount) private view returns (bytes32) {
        bytes32 hash =
            keccak256(abi.encode(PERMIT, stranger.addr, address(market), amount, 0, block.timestamp));
        return keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash));
    }
}
