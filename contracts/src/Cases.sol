// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ArbiterPools} from "./ArbiterPools.sol";
import {ICourtPurse} from "./interfaces/ICourtPurse.sol";
import {IDealMarket} from "./interfaces/IDealMarket.sol";
import {IPools} from "./interfaces/IPools.sol";
import {IDisputeCourt} from "./interfaces/IDisputeCourt.sol";
import {IStakes} from "./interfaces/IStakes.sol";
import {Files} from "./libraries/Files.sol";
import {CasePhase, CourtClocks, File, Grounds, Kind, Verdict} from "./types/Case.sol";
import {CaseSlot, CaseSlotLib, Count} from "./types/CaseSlot.sol";
import {Claim, DemandCore, Terms} from "./types/Deal.sol";
import {Class, Rules} from "./types/Rules.sol";

/// @title Cases
/// @notice The slots of cases, and what every step of one asks first.
abstract contract Cases is IDisputeCourt {
    uint256 private constant MAX_REVEAL_BLOCKS = 192;

    /// @dev A struct around the word, so that one storage pointer serves for reading and writing.
    struct Case {
        CaseSlot slot;
    }

    // The market never calls the court, and the pools only take from it and give to it. So a step may write after it
    // has called them, as most must: what they return is what is written.
    /// @inheritdoc IDisputeCourt
    IDealMarket public immutable market;
    /// @inheritdoc IDisputeCourt
    IPools public immutable pools;
    uint32 internal immutable _joinBlocks;
    uint32 internal immutable _revealBlocks;
    uint32 internal immutable _voteTime;
    uint32 internal immutable _revealTime;
    uint32 internal immutable _appealTime;
    uint32 internal immutable _answerTime;
    uint32 internal immutable _maxDispute;
    uint96 internal immutable _gasAllowance;

    // Written through storage pointers, which the analysis does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(bytes32 caseId => Case) internal _cases;

    constructor(IDealMarket market_, CourtClocks memory clocks) {
        if (market_.disputeCourt() != address(this)) revert NotPaired(address(market_));
        if (clocks.joinBlocks == 0 || clocks.revealBlocks == 0) revert BadClocks();
        if (clocks.revealBlocks > MAX_REVEAL_BLOCKS) revert BadClocks();
        market = market_;
        pools = new ArbiterPools(clocks);
        _joinBlocks = clocks.joinBlocks;
        _revealBlocks = clocks.revealBlocks;
        _voteTime = clocks.voteTime;
        _revealTime = clocks.revealTime;
        _appealTime = clocks.appealTime;
        _answerTime = clocks.answerTime;
        _maxDispute = clocks.maxDispute;
        _gasAllowance = clocks.gasAllowance;
    }

    /* FOR THE POOLS */

    /// @inheritdoc ICourtPurse
    function take(address from, uint96 amount) external {
        _requirePools();
        market.pull(from, amount);
    }

    /// @inheritdoc ICourtPurse
    function give(uint96 amount, address to) external {
        _requirePools();
        market.pay(amount, to);
    }

    /* VIEWS */

    /// @inheritdoc IDisputeCourt
    function caseOf(bytes32 caseId)
        external
        view
        returns (CasePhase phase, Verdict verdict, uint8 round, uint8 seats, uint8 challengers, uint40 time)
    {
        CaseSlot s = _cases[caseId].slot;
        round = uint8(s.count(Count.ROUND));
        seats = uint8(s.count(Count.SEATS));
        return (s.phase(), s.verdict(), round, seats, uint8(s.count(Count.CHALLENGERS)), uint40(s.time()));
    }

    /// @inheritdoc IDisputeCourt
    function caseIdOf(bytes32 dealId, Kind kind, uint32 step, uint32 serial) external pure returns (bytes32) {
        return Files.caseId(dealId, uint256(kind), step, serial);
    }

    /* INTERNAL */

    function _requirePools() private view {
        if (msg.sender != address(pools)) revert NotPools(msg.sender);
    }

    /// @dev The case that a file is of.
    function _caseOf(File calldata file) internal view returns (bytes32 caseId, CaseSlot s) {
        caseId = Files.idOf(file);
        s = _cases[caseId].slot;
        CasePhase phase = s.phase();
        if (phase == CasePhase.NONE || phase == CasePhase.CLOSED) revert WrongCasePhase(caseId, phase);
        if (s.hash() != Files.hash(file)) revert FileMismatch(caseId);
    }

    function _expect(File calldata file, CasePhase phase) internal view returns (bytes32 caseId, CaseSlot s) {
        (caseId, s) = _caseOf(file);
        if (s.phase() != phase) revert WrongCasePhase(caseId, s.phase());
    }

    function _requireFree(bytes32 caseId) internal view {
        CasePhase phase = _cases[caseId].slot.phase();
        if (phase != CasePhase.NONE) revert WrongCasePhase(caseId, phase);
    }

    function _requireChallengeable(
        Claim calldata deal,
        DemandCore calldata demand,
        Rules calldata rules,
        address challenger
    ) internal pure {
        Files.requireRules(deal, demand, rules);
        uint256 class_ = rules.class_;
        if (class_ == uint256(Class.NONE) || class_ > uint256(Class.REPLICATED)) {
            revert NotChallengeable(deal.dealId);
        }
        if (rules.sealed_ && challenger != deal.terms.requester) revert SealedDeal(deal.terms.requester);
    }

    function _requireActingFor(address wallet) internal view {
        if (msg.sender == wallet) return;
        // slither-disable-next-line unused-return
        (uint96 ceiling,) = IStakes(address(market)).hotKey(wallet, msg.sender);
        if (ceiling == 0) revert IStakes.NotActingFor(msg.sender, wallet);
    }

    /// @dev What a first challenger puts down: a committee, and the provider's gas.
    function _bond(Terms calldata terms) internal view returns (uint96) {
        return terms.verification + _gasAllowance;
    }

    /// @dev The next committee will be drawn by the hash of a block to come.
    function _startDrawing(bytes32 caseId, CaseSlot s) internal {
        uint256 seedBlock = block.number + _joinBlocks;
        _cases[caseId].slot = s.to(CasePhase.DRAWING, seedBlock);
        emit Drawing(caseId, uint8(s.count(Count.ROUND)), uint8(s.count(Count.SIZE)), uint40(seedBlock));
    }

    /// @dev Whether an audit waits for its lot: then no deal knows of it yet.
    function _awaitsLot(File calldata file, CaseSlot s) internal pure returns (bool) {
        return file.kind == uint8(Kind.AUDIT) && s.phase() == CasePhase.DRAWING && s.count(Count.ROUND) == 0;
    }

    function _closeAs(bytes32 caseId, bytes32 dealId, CaseSlot s, Verdict verdict, uint96 fee) internal {
        _cases[caseId].slot = s.closed(verdict, fee);
        emit Settled(caseId, dealId, uint8(verdict), fee, 0, 0);
    }
}
