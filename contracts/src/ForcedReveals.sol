// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Committees} from "./Committees.sol";
import {IDisputeCourt} from "./interfaces/IDisputeCourt.sol";
import {Files} from "./libraries/Files.sol";
import {Trace} from "./libraries/Trace.sol";
import {CasePhase, File, Grounds, Kind, Verdict} from "./types/Case.sol";
import {CaseSlot, CaseSlotLib, Count} from "./types/CaseSlot.sol";
import {Claim} from "./types/Deal.sol";

/// @title ForcedReveals
/// @notice Brings withheld leaves to light: the provider shows eight nodes at a time, the challenger chooses.
abstract contract ForcedReveals is Committees {
    /// @dev Levels that one answer shows.
    uint256 private constant LEVELS = 3;

    /// @dev The node asked about, its height above the leaves, and its number among those of its height.
    struct Descent {
        bytes32 node;
        uint32 index;
        uint8 height;
        uint8 answers;
    }

    mapping(bytes32 caseId => Descent) internal _descents;

    /// @inheritdoc IDisputeCourt
    // slither-disable-next-line reentrancy-no-eth
    function demandLeaves(Claim calldata deal, Grounds calldata grounds, uint32 serial)
        external
        returns (bytes32 caseId)
    {
        Files.requireGrounds(deal, grounds);
        _requireChallengeable(deal, grounds.demand, grounds.rules, msg.sender);
        if (grounds.result.stepCount <= Trace.POSTED_STEPS) revert NotChallengeable(deal.dealId);
        caseId = Files.caseId(deal.dealId, uint256(Kind.WITHHELD), 0, serial);
        _requireFree(caseId);
        uint96 bond = market.openChallenge(deal, _bond(deal.terms), msg.sender);
        uint160 hash = Files.hash(deal, Kind.WITHHELD, 0, serial, msg.sender, bond, 0);
        uint256 deadline = block.timestamp + _answerTime;
        _cases[caseId].slot = CaseSlotLib.pack(CasePhase.ASKED, deadline, hash).with(Count.CHALLENGERS, 1);
        uint8 height = uint8(Files.height(grounds.result.stepCount));
        _descents[caseId] = Descent(grounds.result.traceRoot, 0, height, 0);
        emit Challenged(caseId, deal.dealId, msg.sender, uint8(Kind.WITHHELD), 0, serial, bond, 0, 0);
        emit Asked(caseId, grounds.result.traceRoot, height, 0, uint40(deadline));
    }

    /// @inheritdoc IDisputeCourt
    function answerLeaves(File calldata file, bytes32[] calldata nodes) external {
        (bytes32 caseId, CaseSlot s) = _expect(file, CasePhase.ASKED);
        _requireActingFor(file.deal.terms.provider);
        if (block.timestamp > s.time()) revert ClockOver(s.time());
        Descent storage descent = _descents[caseId];
        uint256 shown = _requireBelow(descent, nodes);
        ++descent.answers;
        uint256 deadline = block.timestamp + _answerTime;
        _cases[caseId].slot = s.to(CasePhase.ANSWERED, deadline);
        uint32 index = uint32(uint256(descent.index) << shown);
        emit Answered(caseId, nodes, uint8(descent.height - shown), index, uint40(deadline));
    }

    /// @inheritdoc IDisputeCourt
    function descend(File calldata file, bytes32[] calldata nodes, uint8 child) external {
        (bytes32 caseId, CaseSlot s) = _answered(file);
        Descent storage descent = _descents[caseId];
        uint256 shown = _requireBelow(descent, nodes);
        uint256 height = descent.height - shown;
        if (height == 0 || child >= nodes.length) revert BadProof();
        descent.node = nodes[child];
        descent.index = uint32((uint256(descent.index) << shown) + child);
        descent.height = uint8(height);
        uint256 deadline = block.timestamp + _answerTime;
        _cases[caseId].slot = s.to(CasePhase.ASKED, deadline);
        emit Asked(caseId, nodes[child], uint8(height), descent.index, uint40(deadline));
    }

    /// @inheritdoc IDisputeCourt
    function nameStep(
        File calldata file,
        Grounds calldata grounds,
        bytes32[] calldata nodes,
        uint8 child,
        uint32 serial,
        bytes32 answer
    ) external returns (bytes32 stepCaseId) {
        (bytes32 caseId, CaseSlot s) = _answered(file);
        Files.requireGrounds(file.deal, grounds);
        Descent storage descent = _descents[caseId];
        uint256 shown = _requireBelow(descent, nodes);
        uint256 position = (uint256(descent.index) << shown) + child;
        if (descent.height != shown || child >= nodes.length) revert BadProof();
        if (position == 0 || position > grounds.result.stepCount) revert NoSuchStep(position);

        uint32 step = uint32(uint256(uint32(grounds.demand.steps >> 32)) + position - 1);
        stepCaseId = Files.caseId(file.deal.dealId, uint256(Kind.STEP), step, serial);
        _requireFree(stepCaseId);
        emit StepNamed(caseId, stepCaseId);
        _closeAs(caseId, file.deal.dealId, s, Verdict.NONE, 0);
        _openCase(stepCaseId, file.deal, Kind.STEP, step, serial, file.opener, file.bond, answer);
        _descents[stepCaseId].answers = descent.answers; // the bond still owes the provider's gas
    }

    /// @dev A case in which it is the opener's turn, who is the sender.
    function _answered(File calldata file) private view returns (bytes32 caseId, CaseSlot s) {
        (caseId, s) = _expect(file, CasePhase.ANSWERED);
        _requireActingFor(file.opener);
        if (block.timestamp > s.time()) revert ClockOver(s.time());
    }

    /// @dev Requires all nodes at most three levels below the one asked about, and says how many levels.
    function _requireBelow(Descent storage descent, bytes32[] calldata nodes)
        private
        view
        returns (uint256 levels)
    {
        levels = descent.height < LEVELS ? descent.height : LEVELS;
        if (nodes.length != 1 << levels || Trace.treeRoot(nodes) != descent.node) revert BadProof();
    }
}
