// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDealMarket} from "../src/interfaces/IDealMarket.sol";
import {Mode, Phase, Terms} from "../src/types/Deal.sol";
import {MarketTest} from "./base/MarketTest.sol";
import {BrokenWallet, ContractWallet} from "./mocks/ContractWallet.sol";

contract SignaturesTest is MarketTest {
    uint256 private constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    function test_ContractWalletSignsByErc1271() external {
        ContractWallet wallet = new ContractWallet(requester.addr);
        Terms memory terms = termsOf(address(wallet));
        bytes memory signature = signAward(terms);
        refused(terms, signature);
        for (uint256 i = 0; i < 32; ++i) {
            (signature[i], signature[64 - i]) = (signature[64 - i], signature[i]);
        }
        vm.prank(provider.addr);
        assertPhase(market.assign(terms, signature), Phase.ASSIGNED);
    }

    function test_GarbageIsNoConsent() external {
        refused(termsOf(address(new BrokenWallet())), "");
        refused(termsOf(address(token)), "");
    }

    function test_RefusesTheOtherHalfOfTheCurve() external {
        Terms memory terms = newTerms(Mode.LOCK);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(requester.key, awardDigest(terms));
        refused(terms, abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? 28 : 27));
    }

    function testFuzz_RefusesNoise(bytes calldata noise) external {
        refused(newTerms(Mode.LOCK), noise);
    }

    function test_NobodySignsForTheZeroAddress() external {
        Terms memory terms = newTerms(Mode.LOCK);
        (terms.requester, terms.price, terms.verification) = (address(0), 0, 0);
        refused(terms, "");
        refused(terms, new bytes(65));
        refused(terms, sign(stranger, awardDigest(terms)));
    }

    function test_AreForOneChain() external {
        Terms memory terms = newTerms(Mode.LOCK);
        bytes memory signature = signAward(terms);
        vm.chainId(block.chainid + 1);
        refused(terms, signature);
        signature = signAward(terms);
        vm.prank(provider.addr);
        market.assign(terms, signature);
    }

    function termsOf(address wallet) private returns (Terms memory terms) {
        deposit(wallet, FREE);
        terms = newTerms(Mode.LOCK);
        terms.requester = wallet;
    }

    function refused(Terms memory terms, bytes memory signature) private {
        vm.expectRevert(abi.encodeWithSelector(IDealMarket.BadSignature.selector, terms.requester));
        vm.prank(provider.addr);
        market.assign(terms, signature);
    }
}
