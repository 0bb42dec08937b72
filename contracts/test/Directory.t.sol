// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {Directory} from "../src/Directory.sol";
import {IDirectory, Version} from "../src/interfaces/IDirectory.sol";
import {Test} from "./base/Test.sol";

contract DirectoryTest is Test {
    bytes32 private constant NAME = "DealMarket";
    uint32 private constant DELAY = 7 days;
    uint256 private constant START = 1_800_000_000;

    Directory private directory;
    address private stranger = address(0xbad);

    function setUp() public {
        vm.warp(START);
        directory = new Directory(address(this), DELAY);
    }

    function test_TheFirstVersionIsActiveAtOnce() external {
        vm.expectRevert(abi.encodeWithSelector(IDirectory.NothingActive.selector, NAME, START));
        directory.active(NAME, START);
        vm.expectEmit(address(directory));
        emit IDirectory.Published(NAME, 0, address(this), address(this).codehash, uint40(START));
        vm.assertEq(directory.publish(NAME, address(this)), 0);
        vm.assertEq(directory.count(NAME), 1);

        (uint256 version, Version memory entry) = directory.active(NAME, START);
        vm.assertEq(version, 0);
        vm.assertEq(entry.target, address(this));
        vm.assertEq(entry.codeHash, address(this).codehash);
        vm.assertEq(entry.activeFrom, START);
        vm.expectRevert(abi.encodeWithSelector(IDirectory.NothingActive.selector, NAME, START - 1));
        directory.active(NAME, START - 1);
    }

    function test_ReplacesWithADelay() external {
        directory.publish(NAME, address(directory));
        vm.warp(START + 100);
        vm.expectEmit(address(directory));
        emit IDirectory.Published(NAME, 1, address(this), address(this).codehash, uint40(START + 100 + DELAY));
        vm.assertEq(directory.publish(NAME, address(this)), 1);

        (uint256 version, Version memory entry) = directory.latest(NAME);
        vm.assertEq(version, 1);
        vm.assertEq(entry.target, address(this));
        vm.assertEq(entry.activeFrom, START + 100 + DELAY);
        (version, entry) = directory.active(NAME, START + 100 + DELAY - 1);
        vm.assertEq(version, 0);
        vm.assertEq(entry.target, address(directory));
        (version,) = directory.active(NAME, START + 100 + DELAY);
        vm.assertEq(version, 1);
    }

    /// @dev No order of publishing makes a version that replaces another active before its delay is over.
    function testFuzz_OnlyTheFirstVersionOfANameSkipsTheDelay(
        bytes32[6] calldata names,
        uint8[6] calldata gaps
    ) external {
        uint256 now_ = START;
        for (uint256 i = 0; i < names.length; ++i) {
            bytes32 name = bytes32(uint256(names[i]) % 3);
            now_ += gaps[i];
            vm.warp(now_);
            uint256 version = directory.publish(name, address(this));
            uint256 expected = version == 0 ? now_ : now_ + DELAY;
            vm.assertEq(directory.versionAt(name, version).activeFrom, expected);
            vm.expectRevert(abi.encodeWithSelector(IDirectory.UnknownVersion.selector, name, version + 1));
            directory.versionAt(name, version + 1);
        }
    }

    /// @dev The binary search against a plain one.
    function testFuzz_ActiveIsTheNewestThatHasBegun(uint8[8] calldata gaps, uint32 later) external {
        uint256 now_ = START;
        for (uint256 i = 0; i < gaps.length; ++i) {
            now_ += gaps[i];
            vm.warp(now_);
            directory.publish(NAME, address(this));
        }
        uint256 at = START + bound(later, 0, DELAY + 3_000);
        uint256 expected = 0;
        for (uint256 i = 0; i < gaps.length; ++i) {
            if (directory.versionAt(NAME, i).activeFrom <= at) expected = i;
        }
        if (directory.versionAt(NAME, 0).activeFrom > at) return;
        (uint256 version,) = directory.active(NAME, at);
        vm.assertEq(version, expected);
    }

    function test_IsAppendOnly() external {
        directory.publish(NAME, address(this));
        Version memory before = directory.versionAt(NAME, 0);
        directory.publish(NAME, address(directory));
        directory.deprecate(NAME, 0);
        Version memory afterwards = directory.versionAt(NAME, 0);
        vm.assertEq(afterwards.target, before.target);
        vm.assertEq(afterwards.codeHash, before.codeHash);
        vm.assertEq(afterwards.activeFrom, before.activeFrom);
        vm.assertTrue(afterwards.deprecated);
        vm.assertEq(directory.count(NAME), 2);
    }

    function test_OnlyTheOwnerPublishes() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        directory.publish(NAME, address(this));
        directory.publish(NAME, address(this));
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        directory.deprecate(NAME, 0);
    }

    function test_RefusesWhatIsNotThere() external {
        vm.expectRevert(abi.encodeWithSelector(IDirectory.NoCode.selector, stranger));
        directory.publish(NAME, stranger);
        vm.expectRevert(abi.encodeWithSelector(IDirectory.UnknownVersion.selector, NAME, 0));
        directory.latest(NAME);
        vm.expectRevert(abi.encodeWithSelector(IDirectory.UnknownVersion.selector, NAME, 3));
        directory.versionAt(NAME, 3);
        vm.expectRevert(abi.encodeWithSelector(IDirectory.UnknownVersion.selector, NAME, 0));
        directory.deprecate(NAME, 0);
    }

    function test_OwnershipIsHandedOverInTwoSteps() external {
        directory.transferOwnership(stranger);
        vm.assertEq(directory.owner(), address(this));
        vm.prank(stranger);
        directory.acceptOwnership();
        vm.assertEq(directory.owner(), stranger);
    }
}
