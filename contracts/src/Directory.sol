// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {IDirectory, Version} from "./interfaces/IDirectory.sol";

/// @title Directory
/// @notice Append-only list of the contracts of a network.
contract Directory is IDirectory, Ownable2Step {
    /// @inheritdoc IDirectory
    uint32 public immutable delay;

    mapping(bytes32 name => Version[]) private _versions;

    constructor(address owner_, uint32 delay_) Ownable(owner_) {
        delay = delay_;
    }

    /// @inheritdoc IDirectory
    function publish(bytes32 name, address target) external onlyOwner returns (uint256 version) {
        if (target.code.length == 0) revert NoCode(target);
        version = _versions[name].length;
        // Nobody can rely yet on a name that has no version: there is nothing to leave, so nothing to wait for.
        uint40 activeFrom = uint40(version == 0 ? block.timestamp : block.timestamp + delay);
        _versions[name].push(Version(target, activeFrom, false, target.codehash));
        emit Published(name, version, target, target.codehash, activeFrom);
    }

    /// @inheritdoc IDirectory
    function deprecate(bytes32 name, uint256 version) external onlyOwner {
        _at(name, version).deprecated = true;
        emit Deprecated(name, version);
    }

    /// @inheritdoc IDirectory
    function latest(bytes32 name) external view returns (uint256 version, Version memory entry) {
        uint256 length = _versions[name].length;
        if (length == 0) revert UnknownVersion(name, 0);
        return (length - 1, _versions[name][length - 1]);
    }

    /// @inheritdoc IDirectory
    function active(bytes32 name, uint256 at) external view returns (uint256 version, Version memory entry) {
        Version[] storage versions = _versions[name];
        // activeFrom never falls from one version to the next, so the active ones are a prefix.
        uint256 low = 0;
        uint256 high = versions.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (versions[middle].activeFrom <= at) low = middle + 1;
            else high = middle;
        }
        if (low == 0) revert NothingActive(name, at);
        return (low - 1, versions[low - 1]);
    }

    /// @inheritdoc IDirectory
    function versionAt(bytes32 name, uint256 version) external view returns (Version memory entry) {
        return _at(name, version);
    }

    /// @inheritdoc IDirectory
    function count(bytes32 name) external view returns (uint256) {
        return _versions[name].length;
    }

    function _at(bytes32 name, uint256 version) private view returns (Version storage) {
        if (version >= _versions[name].length) revert UnknownVersion(name, version);
        return _versions[name][version];
    }
}
