// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Trace} from "../../../src/libraries/Trace.sol";
import {CasePhase, File, Grounds, Statement} from "../../../src/types/Case.sol";
import {Claim, Commitment, DemandCore, Mode, Phase, Terms} from "../../../src/types/Deal.sol";
import {Domain} from "../../base/Domain.sol";
import {Dealing, Dispute, Fault} from "./Books.sol";
import {Descents} from "./Descents.sol";
import {Offers} from "./Offers.sol";

/// @notice Providers take deals in each way there is and commit something right, or something wrong in any way there is.
/// Now the wallet sends, now its hot key.
abstract contract Providers is Offers, Descents {
    uint256 internal constant PROVIDER_MOVES = 7;

    function _providerMove(uint256 n, uint256 which, uint256 seed) internal {
        if (n == 0) _take(which, seed);
        else if (n == 1) _lockAward(seed);
        else if (n == 2) _direct(seed);
        else if (n < 5) _commit(which, seed); // twice as often: results are what disputes are about
        else if (n == 5) _abandon(which);
        else _answerTurn(which);
    }

    /* TO A DEAL */

    function _take(uint256 which, uint256 seed) private {
        (bool found, uint256 deal) = _pick(which, Phase.ANNOUNCED);
        if (!found || _isLate(deal)) return;
        Terms memory terms = _deals[deal].claim.terms;
        address by = provider(seed);
        address sender = _bind(deal, by, terms);
        vm.prank(sender);
        market.assignFirst(by, terms);
        _deals[deal].claim.terms.provider = by;
        _deals[deal].phase = Phase.ASSIGNED;
        _did("take");
    }

    function _lockAward(uint256 seed) private {
        if (!_hasRoom()) return;
        (uint256 deal, Terms memory terms) = _offer(seed, Mode.LOCK, provider(seed >> 40));
        bytes memory signature = _signed(terms);
        address sender = _bind(deal, terms.provider, terms);
        vm.prank(sender);
        _deals[deal].claim.dealId = market.assign(terms, signature);
        _deals[deal].phase = Phase.ASSIGNED;
        _did("lock");
    }

    /// @dev A DIRECT deal comes with its result, and is paid from an earmark.
    function _direct(uint256 seed) private {
        if (!_hasRoom()) return;
        (uint256 deal, Terms memory terms) = _offer(seed, Mode.DIRECT, provider(seed >> 40));
        vm.prank(terms.requester);
        market.earmark(terms.provider, terms.price + terms.verification);
        bytes memory signature = _signed(terms);
        address sender = _bind(deal, terms.provider, terms);
        _deals[deal].claim.dealId = Domain.award(address(market), terms);
        (Commitment memory c, bytes32[] memory nodes) = _result(deal, seed >> 48);
        DemandCore memory demand = _grounds[deal].demand;
        bytes32 id;
        if (c.stepCount == 1) {
            vm.prank(sender);
            id = market.assignAndCommit(demand, c, terms, signature);
        } else {
            bytes32[] memory trace = postedOf(nodes, c.stepCount);
            vm.prank(sender);
            id = market.assignAndCommitSteps(demand, c, terms, signature, trace);
        }
        vm.assertEq(id, _deals[deal].claim.dealId);
        _did("direct");
    }

    /// @dev The stake for a deal is there; says who sends, and remembers whose ceiling counts it.
    function _bind(uint256 deal, address by, Terms memory terms) private returns (address sender) {
        _stake(by, _bondsIn(terms));
        sender = _handOf(by);
        if (sender == by) return by;
        _deals[deal].claim.lockedBy = sender;
        _see("hot key locks");
    }

    /* RESULTS */

    function _commit(uint256 which, uint256 seed) private {
        (bool found, uint256 deal) = _pick(which, Phase.ASSIGNED);
        if (!found || _isLate(deal)) return;
        (Commitment memory c, bytes32[] memory nodes) = _result(deal, seed);
        Claim memory claim_ = _deals[deal].claim;
        DemandCore memory demand = _grounds[deal].demand;
        address sender = _handOf(claim_.terms.provider);
        if (c.stepCount == 1) {
            vm.prank(sender);
            market.commit(claim_.lockedBy, claim_.terms, demand, claim_.dealId, c);
        } else {
            bytes32[] memory trace = postedOf(nodes, c.stepCount);
            vm.prank(sender);
            market.commitSteps(claim_.lockedBy, claim_.terms, demand, claim_.dealId, c, trace);
        }
        _did("commit");
    }

    /// @dev A result and its trace's tree, entered into the books.
    function _result(uint256 deal, uint256 seed)
        private
        returns (Commitment memory c, bytes32[] memory nodes)
    {
        Dealing storage d = _deals[deal];
        uint256 k = stepsOf(deal);
        d.at = 1 + (seed >> 8) % k;
        d.fault = _fault(seed, k, d.at);
        d.claim.amount = uint96(bound(seed >> 16, 0, d.claim.terms.price));
        c.resultRoot = stateAt(deal, k, d.fault == Fault.WRONG && d.at == k);
        c.leavesCid = k == 1 ? bytes32(0) : keccak256("leaves");
        (c.stepCount, c.amount) = (uint32(k), d.claim.amount);
        nodes = tree(deal);
        _grounds[deal].result = Statement(nodes[1], c.resultRoot, c.resultRoot, c.leavesCid, k, 0);
        d.claim.commitmentDigest = keccak256(abi.encode(_grounds[deal].result));
        d.phase = Phase.COMMITTED;
        ++faults[d.fault];
    }

    function _fault(uint256 seed, uint256 k, uint256 at) private pure returns (Fault fault) {
        fault = Fault(seed % 7 % 6); // in two of seven nothing is wrong
        if (fault == Fault.MALFORMED && at == k) return Fault.WRONG;
        if (fault == Fault.SILENT && k <= Trace.POSTED_STEPS) return Fault.UNSTABLE; // no move is asked of it
    }

    function _abandon(uint256 which) private {
        (bool found, uint256 deal) = _pick(which, Phase.ASSIGNED);
        if (!found || which % 3 != 0 || _isLate(deal)) return;
        Claim memory claim_ = _deals[deal].claim;
        uint256 burned = market.totalBurned();
        vm.prank(claim_.terms.provider);
        market.abandon(claim_.dealId, claim_.terms, claim_.lockedBy);
        uint256 lost = market.totalBurned() - burned;
        vm.assertEq(lost, claim_.terms.price / 100, "who gives up burns a hundredth of the price");
        _close(deal, Phase.REFUNDED);
        _did("abandon");
    }

    /* FORCED REVEALS */

    function _answerTurn(uint256 which) private {
        (bool found, uint256 c) = _find(which, CasePhase.ASKED);
        if (!found) return;
        if (block.timestamp <= _timeOf(c) && _answer(c)) _did("answer");
        else _settleAfter(c, CasePhase.ASKED);
    }

    /// @dev All but those who withhold do so in time.
    function _answer(uint256 c) internal returns (bool) {
        Dispute storage d = _disputes[c];
        if (_deals[d.deal].fault == Fault.SILENT) return false;
        bytes32[] memory shown = _below(d, tree(d.deal));
        File memory file = d.file;
        vm.prank(_handOf(file.deal.terms.provider));
        court.answerLeaves(file, shown);
        _note(c);
        return true;
    }
}
