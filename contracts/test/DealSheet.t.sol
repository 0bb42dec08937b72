// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {DealSheet, DealSheetLib} from "../src/types/DealSheet.sol";
import {Claim, Terms} from "../src/types/Deal.sol";
import {Test} from "./base/Test.sol";

/// @notice The assembly of DealSheet against what the compiler does.
contract DealSheetTest is Test {
    bytes32 private constant TYPE = keccak256("type");

    function hashes(Terms calldata terms, address lockedBy)
        external
        pure
        returns (bytes32 typed, uint200 assigned)
    {
        DealSheet sheet = DealSheetLib.openNew(terms);
        return (sheet.typed(TYPE), sheet.assigned(lockedBy));
    }

    function committed(Claim calldata claim) external pure returns (uint200) {
        return DealSheetLib.open(claim).committed();
    }

    function fields(Terms calldata terms) external pure returns (Terms memory) {
        DealSheet sheet = DealSheetLib.open(terms);
        return Terms(
            sheet.requester(),
            sheet.provider(),
            sheet.demandDigest(),
            uint96(sheet.price()),
            uint96(sheet.verification()),
            uint96(sheet.fraudBond()),
            uint40(sheet.assignBy()),
            uint40(sheet.commitBy()),
            uint32(sheet.window()),
            uint8(sheet.mode()),
            sheet.salt()
        );
    }

    function changed(Terms calldata terms, address provider, uint96 price, uint256 salt)
        external
        pure
        returns (bytes32)
    {
        DealSheet sheet = DealSheetLib.open(terms);
        sheet.setProvider(provider);
        sheet.setPrice(price);
        sheet.setSalt(salt);
        return sheet.typed(TYPE);
    }

    function testFuzz_Hashes(Terms calldata terms, address lockedBy) external view {
        (bytes32 typed, uint200 assigned) = this.hashes(terms, lockedBy);
        vm.assertEq(typed, keccak256(abi.encode(TYPE, terms)));
        vm.assertEq(assigned, uint200(uint256(keccak256(abi.encode(terms, lockedBy)))));
    }

    function testFuzz_CommittedHash(Claim calldata c) external view {
        bytes32 expected = keccak256(abi.encode(c.terms, c.lockedBy, c.amount, c.commitmentDigest));
        vm.assertEq(this.committed(c), uint200(uint256(expected)));
    }

    function testFuzz_Fields(Terms calldata terms) external view {
        vm.assertEq(abi.encode(this.fields(terms)), abi.encode(terms));
    }

    function testFuzz_Changes(Terms memory terms, address provider, uint96 price, uint256 salt)
        external
        view
    {
        bytes32 typed = this.changed(terms, provider, price, salt);
        (terms.provider, terms.price, terms.salt) = (provider, price, salt);
        vm.assertEq(typed, keccak256(abi.encode(TYPE, terms)));
    }
}
