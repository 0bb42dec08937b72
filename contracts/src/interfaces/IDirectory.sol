// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice One published version of a named contract.
struct Version {
    address target;
    /// @dev Seconds since 1970.
    uint40 activeFrom;
    /// @dev Advice to nodes; nothing on chain acts on it.
    bool deprecated;
    /// @dev extcodehash of `target` when it was published.
    bytes32 codeHash;
}

/// @notice Finds the contracts of a network by name, so that a node needs one address per chain.
/// @dev Append-only: what was published can be advised against, never changed or removed. Names are short ASCII strings,
/// left-aligned in a word, such as "DealMarket".
interface IDirectory {
    event Published(
        bytes32 indexed name,
        uint256 indexed version,
        address indexed target,
        bytes32 codeHash,
        uint40 activeFrom
    );
    event Deprecated(bytes32 indexed name, uint256 indexed version);

    /// @notice There is no contract at this address.
    error NoCode(address target);
    /// @notice The name has no version of this number.
    error UnknownVersion(bytes32 name, uint256 version);
    /// @notice The name has no version that is active at that time.
    error NothingActive(bytes32 name, uint256 at);

    /// @notice Appends a version, active after the directory's delay; the first of a name at once, since nobody can
    /// rely on a name before it has one. Sender: owner.
    function publish(bytes32 name, address target) external returns (uint256 version);

    /// @notice Advises against a version. Sender: owner.
    function deprecate(bytes32 name, uint256 version) external;

    /// @notice Seconds between publishing a version that replaces another and its activity.
    function delay() external view returns (uint32);

    /// @notice The newest version, active or not.
    function latest(bytes32 name) external view returns (uint256 version, Version memory entry);

    /// @notice The newest version that is active at time `at`.
    function active(bytes32 name, uint256 at) external view returns (uint256 version, Version memory entry);

    /// @notice Version number `version`, counted from zero.
    function versionAt(bytes32 name, uint256 version) external view returns (Version memory entry);

    /// @notice How many versions the name has.
    function count(bytes32 name) external view returns (uint256);
}
