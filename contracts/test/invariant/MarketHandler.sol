// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Trace} from "../../src/libraries/Trace.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {TestToken} from "../../src/mocks/TestToken.sol";
import {Claim, Commitment, DemandCore, Mode, Phase, Terms} from "../../src/types/Deal.sol";
import {Domain} from "../base/Domain.sol";
import {Market} from "../base/Market.sol";
import {Test} from "../base/Test.sol";

/// @notice Plays all parties with legal moves only, so that any revert is a finding, and remembers every deal.
contract MarketHandler is Test {
    struct Deal {
        bytes32 id;
        Terms terms;
        address lockedBy;
        uint96 amount;
        bytes32 digest;
        Phase phase;
    }

    uint256 public constant ACTORS = 3;
    uint96 private constant MAX_DEPOSIT = 1_000 ether;
    uint32 private constant WINDOW = 60;

    TestToken public immutable token;
    Market public immutable market;
    uint32 private immutable _grace;
    uint256[ACTORS] private _keys;
    Deal[] private _deals;

    constructor(Market market_) {
        market = market_;
        token = TestToken(address(market_.token()));
        _grace = market_.clocks().grace;
        for (uint256 i = 0; i < ACTORS; ++i) {
            _keys[i] = uint256(keccak256(abi.encode("actor", i)));
        }
    }

    /* MONEY */

    function deposit(uint256 who, uint96 amount) external {
        amount = uint96(bound(amount, 0, MAX_DEPOSIT));
        token.mint(actor(who), amount);
        vm.startPrank(actor(who));
        token.approve(address(market), amount);
        market.deposit(amount);
        vm.stopPrank();
    }

    function beginWithdraw(uint256 who, uint96 amount) external {
        vm.prank(actor(who));
        market.beginWithdraw(amount);
    }

    function withdraw(uint256 who) external {
        (, uint40 readyAt) = market.withdrawingOf(actor(who));
        if (readyAt == 0) return;
        waitUntil(readyAt);
        vm.prank(actor(who));
        market.withdraw(address(0xdead));
    }

    function earmark(uint256 who, uint256 whom, uint96 amount) external {
        vm.startPrank(actor(who));
        market.earmark(actor(whom), uint96(bound(amount, 0, free(actor(who)))));
        vm.stopPrank();
    }

    function beginUnearmark(uint256 who, uint256 whom, uint96 amount) external {
        vm.prank(actor(who));
        market.beginUnearmark(actor(whom), amount);
    }

    function unearmark(uint256 who, uint256 whom) external {
        (,, uint40 readyAt) = market.earmarkOf(actor(who), actor(whom));
        if (readyAt == 0) return;
        waitUntil(readyAt);
        vm.prank(actor(who));
        market.unearmark(actor(whom));
    }

    function stake(uint256 who, uint96 amount) external {
        vm.startPrank(actor(who));
        market.stake(uint96(bound(amount, 0, free(actor(who)))));
        vm.stopPrank();
    }

    function beginUnstake(uint256 who, uint96 amount) external {
        vm.prank(actor(who));
        market.beginUnstake(amount);
    }

    function unstake(uint256 who) external {
        (, uint40 readyAt) = market.unstakingOf(actor(who));
        if (readyAt == 0) return;
        waitUntil(readyAt);
        vm.prank(actor(who));
        market.unstake();
    }

    function setPayout(uint256 who, uint256 to) external {
        vm.prank(actor(who));
        market.setPayout(actor(to));
    }

    function setHotKey(uint256 who, uint96 ceiling) external {
        vm.prank(actor(who));
        market.setHotKey(hotKey(actor(who)), uint96(bound(ceiling, 0, 1_000 ether)));
    }

    function wait(uint16 time) external {
        vm.warp(block.timestamp + time);
    }

    /* DEALS */

    function announce(uint256 who, uint96 price, uint96 verification, bool first) external {
        Terms memory terms = newTerms(who, who, price, verification, first ? Mode.FIRST : Mode.AWARD);
        terms.provider = address(0);
        terms.fraudBond = terms.price / 2;
        if (free(terms.requester) < uint256(terms.price) + terms.verification) return;
        vm.prank(terms.requester);
        bytes32 id = market.announce(terms, "");
        _deals.push(Deal(id, terms, address(0), 0, 0, Phase.ANNOUNCED));
    }

    function assign(uint256 who, uint256 whom, uint96 price, uint96 verification, bool byKey) external {
        Terms memory terms = newTerms(who, whom, price, verification, Mode.LOCK);
        if (free(terms.requester) < uint256(terms.price) + terms.verification) return;
        (bool able, address sender, address lockedBy) = sends(terms, byKey);
        if (!able) return;
        bytes memory signature = sign(who, Domain.award(address(market), terms));
        vm.prank(sender);
        bytes32 id = market.assign(terms, signature);
        _deals.push(Deal(id, terms, lockedBy, 0, 0, Phase.ASSIGNED));
    }

    function assignAnnounced(uint256 which, uint256 whom, uint96 price, bool byKey) external {
        (bool found, uint256 i) = pick(which, Phase.ANNOUNCED);
        if (!found || block.timestamp > _deals[i].terms.assignBy) return;
        Terms memory terms = _deals[i].terms;
        bool first = terms.mode == uint8(Mode.FIRST);
        Terms memory agreed = abi.decode(abi.encode(terms), (Terms));
        agreed.provider = actor(whom);
        agreed.price = first ? terms.price : uint96(bound(price, 0, terms.price));
        (bool able, address sender, address lockedBy) = sends(agreed, byKey);
        if (!able) return;
        if (first) {
            vm.prank(sender);
            market.assignFirst(agreed.provider, terms);
        } else {
            bytes memory signature = signAward(agreed, _deals[i].id);
            vm.prank(sender);
            market.assignAnnounced(terms, agreed.price, agreed.provider, signature);
        }
        (_deals[i].terms, _deals[i].lockedBy, _deals[i].phase) = (agreed, lockedBy, Phase.ASSIGNED);
    }

    function assignAndCommit(uint256 who, uint256 whom, uint96 price, uint96 verification, bool byKey)
        external
    {
        Terms memory terms = newTerms(who, whom, price, verification, Mode.DIRECT);
        (uint96 marked,,) = market.earmarkOf(terms.requester, terms.provider);
        if (marked < uint256(terms.price) + terms.verification) return;
        (bool able, address sender, address lockedBy) = sends(terms, byKey);
        if (!able) return;
        bytes memory signature = sign(who, Domain.award(address(market), terms));
        Commitment memory c = commitment(terms.price / 3);
        vm.prank(sender);
        bytes32 id = market.assignAndCommit(demand(), c, terms, signature);
        _deals.push(Deal(id, terms, lockedBy, c.amount, digestOf(id, c), Phase.COMMITTED));
    }

    function commit(uint256 which, uint96 amount) external {
        (bool found, uint256 i) = pick(which, Phase.ASSIGNED);
        if (!found || late(_deals[i])) return;
        Deal storage deal = _deals[i];
        Commitment memory c = commitment(uint96(bound(amount, 0, deal.terms.price)));
        vm.prank(deal.terms.provider);
        market.commit(deal.lockedBy, deal.terms, demand(), deal.id, c);
        (deal.amount, deal.digest, deal.phase) = (c.amount, digestOf(deal.id, c), Phase.COMMITTED);
    }

    function claim(uint256 which) external {
        (bool found, uint256 i) = pick(which, Phase.COMMITTED);
        if (found) claimAt(i);
    }

    function accept(uint256 which) external {
        (bool found, uint256 i) = pick(which, Phase.COMMITTED);
        if (!found) return;
        vm.prank(_deals[i].terms.requester);
        market.accept(claimOf(_deals[i]), "");
        _deals[i].phase = Phase.FINALIZED;
    }

    function cancel(uint256 which) external {
        (bool found, uint256 i) = pick(which, Phase.ANNOUNCED);
        if (!found) return;
        vm.prank(_deals[i].terms.requester);
        market.cancel(_deals[i].terms);
        _deals[i].phase = Phase.CANCELLED;
    }

    function abandon(uint256 which) external {
        (bool found, uint256 i) = pick(which, Phase.ASSIGNED);
        if (!found || late(_deals[i])) return;
        vm.prank(_deals[i].terms.provider);
        market.abandon(_deals[i].id, _deals[i].terms, _deals[i].lockedBy);
        _deals[i].phase = Phase.REFUNDED;
    }

    function expire(uint256 which, uint256 who) external {
        (bool found, uint256 i) = pick(which, Phase.ASSIGNED);
        if (found) expireAt(i, actor(who));
    }

    function cancelMutual(uint256 which, uint96 amount) external {
        (bool found, uint256 i) = pick(which, Phase.ASSIGNED);
        if (!found || late(_deals[i])) return;
        Deal storage deal = _deals[i];
        amount = uint96(bound(amount, 0, deal.terms.price));
        uint40 until = uint40(block.timestamp);
        bytes32 digest = Domain.digest(address(market), TypedData.cancelMutual(deal.id, amount, until));
        bytes memory signature = sign(keyOf(deal.terms.requester), digest);
        vm.prank(deal.terms.provider);
        market.cancelMutual(deal.id, deal.terms, deal.lockedBy, amount, until, signature, "");
        deal.phase = Phase.CANCELLED;
    }

    /// @notice A stranger ends everything that is open, by waiting alone.
    function endAll() external {
        for (uint256 i = 0; i < _deals.length; ++i) {
            if (_deals[i].phase == Phase.ANNOUNCED) {
                waitUntil(_deals[i].terms.assignBy + 1);
                vm.prank(address(0xbeef));
                market.cancel(_deals[i].terms);
                _deals[i].phase = Phase.CANCELLED;
            } else if (_deals[i].phase == Phase.ASSIGNED) {
                expireAt(i, address(0xbeef));
            } else if (_deals[i].phase == Phase.COMMITTED) {
                claimAt(i);
            }
        }
    }

    /* WHAT SHOULD BE */

    function dealCount() external view returns (uint256) {
        return _deals.length;
    }

    function dealAt(uint256 i) external view returns (Deal memory) {
        return _deals[i];
    }

    /// @notice What requesters have in open deals.
    function escrowed() external view returns (uint256 sum) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            if (isOpen(_deals[i])) sum += uint256(_deals[i].terms.price) + _deals[i].terms.verification;
        }
    }

    /// @notice What a provider has locked in open deals.
    function bondsOf(address provider) external view returns (uint256 sum) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            if (isOpen(_deals[i]) && _deals[i].terms.provider == provider) sum += bonds(_deals[i].terms);
        }
    }

    /// @notice What a hot key has locked in open deals, rounded up per deal.
    function loadOf(address provider) external view returns (uint256 sum) {
        address key = hotKey(provider);
        for (uint256 i = 0; i < _deals.length; ++i) {
            Deal storage deal = _deals[i];
            if (!isOpen(deal) || deal.lockedBy != key || deal.terms.provider != provider) continue;
            sum += (bonds(deal.terms) + 0xffffffff) >> 32 << 32;
        }
    }

    function actor(uint256 i) public view returns (address) {
        return vm.addr(_keys[i % ACTORS]);
    }

    function hotKey(address provider) public pure returns (address) {
        return address(uint160(provider) ^ 1);
    }

    /* PARTS */

    function newTerms(uint256 who, uint256 whom, uint96 price, uint96 verification, Mode mode)
        private
        view
        returns (Terms memory)
    {
        price = uint96(bound(price, 0, 100 ether));
        return Terms({
            requester: actor(who),
            provider: actor(whom),
            demandDigest: keccak256(abi.encode(demand())),
            price: price,
            verification: uint96(bound(verification, 0, 10 ether)),
            fraudBond: price / 2,
            assignBy: uint40(block.timestamp + 300),
            commitBy: uint40(block.timestamp + 600),
            window: WINDOW,
            mode: uint8(mode),
            salt: _deals.length
        });
    }

    /// @dev Who would send an assignment, whether it has the stake and the room for it, and what it would be counted as.
    function sends(Terms memory terms, bool byKey)
        private
        view
        returns (bool able, address sender, address lockedBy)
    {
        (, uint80 staked, uint80 locked) = market.accountOf(terms.provider);
        uint256 needed = bonds(terms);
        if (staked - locked < needed) return (false, address(0), address(0));
        if (!byKey) return (true, terms.provider, address(0));
        address key = hotKey(terms.provider);
        (uint96 ceiling, uint96 load) = market.hotKey(terms.provider, key);
        uint256 rounded = (needed + 0xffffffff) >> 32 << 32;
        return (ceiling != 0 && load + rounded <= ceiling, key, key);
    }

    function claimAt(uint256 i) private {
        (,, uint40 deadline,) = market.slot(_deals[i].id);
        waitUntil(uint256(deadline) + 1);
        market.claim(claimOf(_deals[i]));
        _deals[i].phase = Phase.FINALIZED;
    }

    function expireAt(uint256 i, address sender) private {
        waitUntil(uint256(_deals[i].terms.commitBy) + _grace + 1);
        vm.prank(sender);
        market.expire(_deals[i].id, _deals[i].terms, _deals[i].lockedBy);
        _deals[i].phase = Phase.REFUNDED;
    }

    function claimOf(Deal storage deal) private view returns (Claim memory) {
        return Claim(deal.terms, deal.lockedBy, deal.amount, deal.digest, deal.id);
    }

    function pick(uint256 which, Phase phase) private view returns (bool found, uint256 i) {
        for (uint256 j = 0; j < _deals.length; ++j) {
            i = addmod(which, j, _deals.length);
            if (_deals[i].phase == phase) return (true, i);
        }
    }

    function waitUntil(uint256 time) private {
        if (block.timestamp < time) vm.warp(time);
    }

    function late(Deal storage deal) private view returns (bool) {
        return block.timestamp > uint256(deal.terms.commitBy) + _grace;
    }

    function isOpen(Deal storage deal) private view returns (bool) {
        return deal.phase < Phase.FINALIZED;
    }

    function bonds(Terms memory terms) private pure returns (uint256) {
        return terms.fraudBond + (terms.mode == uint8(Mode.DIRECT) ? 0 : terms.price / 10);
    }

    function free(address holder) private view returns (uint256 amount) {
        (amount,,) = market.accountOf(holder);
    }

    function demand() private pure returns (DemandCore memory) {
        return DemandCore(keccak256("spec"), keccak256("inputs"), 1);
    }

    function commitment(uint96 amount) private pure returns (Commitment memory) {
        return Commitment(keccak256("result"), 0, 0, 0, 1, 0, amount);
    }

    function digestOf(bytes32 id, Commitment memory c) private pure returns (bytes32) {
        bytes32 first = Trace.leaf(id, 0, demand().inputRoot, 0, 0, 0);
        bytes32 root = Trace.node(first, Trace.leaf(id, 1, c.resultRoot, 0, 0, 1));
        return keccak256(abi.encode(root, c.resultRoot, c.resultRoot, c.leavesCid, uint256(1), uint256(0)));
    }

    function signAward(Terms memory agreed, bytes32 id) private view returns (bytes memory) {
        Terms memory award = abi.decode(abi.encode(agreed), (Terms));
        award.salt = uint256(id);
        return sign(keyOf(award.requester), Domain.award(address(market), award));
    }

    function keyOf(address holder) private view returns (uint256 i) {
        while (actor(i) != holder) ++i;
    }

    function sign(uint256 who, bytes32 digest) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_keys[who % ACTORS], digest);
        return abi.encodePacked(r, s, v);
    }
}
