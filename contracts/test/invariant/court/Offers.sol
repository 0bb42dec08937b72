// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {DemandCore, Mode, Terms} from "../../../src/types/Deal.sol";
import {Class, Rules} from "../../../src/types/Rules.sol";
import {Dealing} from "./Books.sol";
import {Settlements} from "./Settlements.sol";

/// @notice What requesters ask for: deals of each class, with and without rules, to be judged by a pool or by a named set.
abstract contract Offers is Settlements {
    uint256 private constant MOST_DEALS = 6;
    uint32 private constant WINDOW = 1_200;
    uint8 private constant QUORUM = 3;

    function _hasRoom() internal view returns (bool) {
        return _openDeals() < MOST_DEALS;
    }

    /// @dev A deal that is not on chain yet, which its requester can pay.
    function _offer(uint256 seed, Mode mode, address to) internal returns (uint256 deal, Terms memory terms) {
        deal = _deals.length;
        _grounds[deal].rules = _rules(seed);
        _grounds[deal].demand = _demand(seed >> 16, _grounds[deal].rules);
        terms = _terms(seed >> 32, deal, mode, to);
        _afford(terms.requester, uint256(terms.price) + terms.verification);
        Dealing storage d = _deals.push();
        d.claim.terms = terms;
    }

    /// @dev A result that is bought from several providers has no rules: its requester compares them by itself.
    function _rules(uint256 seed) private view returns (Rules memory rules) {
        uint256 kind = seed % 8;
        if (kind == 0) return rules;
        bool fixedSet = seed >> 3 & 3 == 0;
        rules.class_ = uint8(kind == 1 ? Class.TOLERANCE : kind == 2 ? Class.REPLICATED : Class.EXACT);
        rules.sealed_ = seed >> 8 & 7 == 0;
        rules.quorum = fixedSet ? QUORUM : 0;
        rules.pool = fixedSet ? named : pool;
        rules.comparator = kind <= 2 ? keccak256("comparator") : bytes32(0);
        rules.maxStateBytes = 1 << 20;
        rules.stepSeconds = 10;
        rules.arbiterFee = uint96(bound(seed >> 11, 0, 4)) * 0.01 ether;
        rules.auditPpm = 700_000;
    }

    function _demand(uint256 seed, Rules memory rules) private pure returns (DemandCore memory) {
        uint256 k = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 4 : 20;
        bool ruled = rules.class_ != uint8(Class.NONE);
        uint256 digest = ruled ? uint192(uint256(keccak256(abi.encode(rules)))) : 0;
        uint256 steps = (digest << 64) | (((seed >> 4) % 9) << 32) | k;
        return DemandCore(keccak256("spec"), keccak256("inputs"), steps);
    }

    function _terms(uint256 seed, uint256 deal, Mode mode, address to) private view returns (Terms memory) {
        uint96 price = uint96(bound(uint256(keccak256(abi.encode(seed))), 0, 10 ether));
        return Terms({
            requester: requester(seed),
            provider: to,
            demandDigest: keccak256(abi.encode(_grounds[deal].demand)),
            price: price,
            verification: 3 * _grounds[deal].rules.arbiterFee,
            fraudBond: !isRuled(deal) ? 0 : seed >> 8 & 1 == 0 ? 5 * price : price / 3,
            assignBy: uint40(block.timestamp + 600),
            commitBy: uint40(block.timestamp + 1_200),
            window: WINDOW,
            mode: uint8(mode),
            salt: deal
        });
    }
}
