// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CasePhase, File, Grounds, Kind, Vote} from "../../src/types/Case.sol";
import {Claim, Mode, Terms} from "../../src/types/Deal.sol";
import {CourtTest} from "../base/CourtTest.sol";

/// @notice Disputes of any amounts against what the node's arithmetic says of them: `tests/vectors/verdicts.py`.
contract VerdictVectorsTest is CourtTest {
    uint256 private constant AS_ROUND = 0;
    uint256 private constant OTHERWISE = 1;
    uint256 private constant NOT_CAST = 2;
    uint256 private constant NOT_REVEALED = 3;
    uint256 private constant SHOWS_RIGHT = 1;
    uint256 private constant SHOWS_NOTHING = 2;
    uint96 private constant PLENTY = 1_000_000 ether;
    uint256 private constant MANY = 16;
    string private constant VECTOR = "Vector(uint256 price,uint256 amount,uint256 verification,uint256 fraudBond,uint256 fee,"
        "uint256 ofRequester,uint256[] answers,uint256[] decisions,uint256[] seats,"
        "uint256 requesterGets,uint256 providerGets,uint256[] challengersGet,"
        "uint256[] arbitersEarn,uint256[] arbitersLose,uint256 appellantsGet,uint256 burned)";

    /// @dev What is asked and what is answered, as in the file.
    struct Vector {
        uint256 price;
        uint256 amount;
        uint256 verification;
        uint256 fraudBond;
        uint256 fee;
        uint256 ofRequester;
        uint256[] answers;
        uint256[] decisions;
        uint256[] seats;
        uint256 requesterGets;
        uint256 providerGets;
        uint256[] challengersGet;
        uint256[] arbitersEarn;
        uint256[] arbitersLose;
        uint256 appellantsGet;
        uint256 burned;
    }

    Vector private v;
    /// @dev What each account is to have at the end, but for what it has put in: that is added when it has.
    mapping(address => uint256) private due;
    uint256 private appeals;
    uint256 private seat;

    function setUp() public override {
        super.setUp();
        deposit(requester.addr, PLENTY);
        deposit(stranger.addr, PLENTY);
        deposit(hotKey.addr, PLENTY);
        deposit(provider.addr, PLENTY / 4);
        vm.prank(provider.addr);
        market.stake(PLENTY / 4);
        for (uint256 i = ARBITERS; i < MANY; ++i) {
            addArbiter(i, ARBITER_STAKE);
        }
        for (uint256 i = 0; i < MANY; ++i) {
            deposit(arbiters[i], PLENTY);
            vm.prank(arbiters[i]);
            pools.enroll(CLASS, PLENTY);
        }
    }

    function test_Upheld() external {
        playAll("upheld");
    }

    function test_Overturned() external {
        playAll("overturned");
    }

    function test_Void() external {
        playAll("void");
    }

    function test_Split() external {
        playAll("split");
    }

    function playAll(string memory name) private {
        string memory json = vm.readFile(string.concat("tests/vectors/verdicts_", name, ".json"));
        string[] memory names = vm.parseJsonKeys(json, "$");
        vm.assertTrue(names.length >= 50);
        for (uint256 i = 0; i < names.length; ++i) {
            v = abi.decode(vm.parseJsonType(json, string.concat(".", names[i]), VECTOR), (Vector));
            play(names[i]);
        }
    }

    /* ONE DISPUTE */

    function play(string memory name) private {
        remember();
        uint256 burned = market.totalBurned();
        (File memory file, Grounds memory grounds) = challenged();
        if (v.decisions.length != 0) showAll(file, grounds);
        seat = appeals = 0;
        for (uint256 round = 0; round < v.decisions.length; ++round) {
            if (round != 0) appealOnce(file, grounds);
            judge(file, grounds, v.decisions[round]);
        }
        end(file, grounds);
        check(name, burned);
    }

    function challenged() private returns (File memory file, Grounds memory grounds) {
        rules.arbiterFee = uint96(v.fee);
        Terms memory terms = newTerms(Mode.LOCK);
        terms.price = uint96(v.price);
        terms.verification = uint96(v.verification);
        terms.fraudBond = uint96(v.fraudBond);
        Claim memory deal;
        (deal, grounds) = disputableOn(terms, uint96(v.amount));
        file = challengeBy(party(0), deal, grounds, Kind.STEP, answerOf(0));
        for (uint256 i = 1; i < v.answers.length; ++i) {
            joinBy(party(i), file, grounds, answerOf(i));
        }
    }

    function showAll(File memory file, Grounds memory grounds) private {
        passSeedBlock(idOf(file));
        for (uint8 i = 0; i < v.answers.length; ++i) {
            if (v.answers[i] != SHOWS_NOTHING) showBy(party(i), i, file, grounds, answerOf(i));
        }
        (CasePhase phase,,,,,) = court.caseOf(idOf(file));
        if (phase == CasePhase.VOTING) return;
        vm.roll(block.number + REVEAL_BLOCKS);
        (bytes32 leaf, bytes32[] memory proof) = leafOf(file, grounds);
        court.draw(file, grounds, leaf, proof);
    }

    function appealOnce(File memory file, Grounds memory grounds) private {
        uint256 before = freeOf(stranger.addr);
        vm.prank(stranger.addr);
        court.appeal(file, grounds);
        appeals += before - freeOf(stranger.addr);
        draw(file, grounds);
    }

    /// @dev Zero for a round that is left as it is.
    function judge(File memory file, Grounds memory grounds, uint256 decision) private {
        bytes32 id = idOf(file);
        (uint8 round, uint8 seats) = roundOf(id);
        bool allCast = true;
        for (uint8 i = 0; i < seats; ++i) {
            (address arbiter,) = court.seatOf(POOL, id, round, i);
            due[arbiter] = due[arbiter] + v.arbitersEarn[seat + i] - v.arbitersLose[seat + i];
            if (v.seats[seat + i] == NOT_CAST) allCast = false;
            else castAs(file, grounds, i, decision);
        }
        if (!allCast) passClock(id);
        bool allRevealed = true;
        for (uint8 i = 0; i < seats; ++i) {
            uint256 does = v.seats[seat + i];
            if (does == NOT_REVEALED) allRevealed = false;
            if (does <= OTHERWISE) revealAs(file, grounds, i, decision);
        }
        seat += seats;
        if (decision == 0) return;
        if (!allRevealed) passClock(id);
        resolve(file, grounds);
    }

    function castAs(File memory file, Grounds memory grounds, uint8 i, uint256 decision) private {
        (Vote vote, bytes32 leaf) = voteBy(file, grounds, v.seats[seat + i], decision);
        cast(idOf(file), i, vote, leaf);
    }

    function revealAs(File memory file, Grounds memory grounds, uint8 i, uint256 decision) private {
        (Vote vote, bytes32 leaf) = voteBy(file, grounds, v.seats[seat + i], decision);
        reveal(idOf(file), i, vote, leaf);
    }

    function voteBy(File memory file, Grounds memory grounds, uint256 does, uint256 decision)
        private
        view
        returns (Vote vote, bytes32 leaf)
    {
        if (does == OTHERWISE) return (Vote.UNAVAILABLE, 0);
        vote = decision == 0 ? Vote.UPHOLD : Vote(decision);
        if (vote == Vote.UPHOLD) (leaf,) = leafOf(file, grounds);
        if (vote == Vote.OVERTURN) leaf = RIGHT;
    }

    function end(File memory file, Grounds memory grounds) private {
        bytes32[] memory given = new bytes32[](v.answers.length);
        for (uint256 i = 0; i < given.length; ++i) {
            if (v.answers[i] != SHOWS_NOTHING) given[i] = answerOf(i);
        }
        if (v.decisions.length == 0) {
            vm.roll(block.number + JOIN_BLOCKS + REVEAL_BLOCKS + 1);
        } else if (v.decisions[v.decisions.length - 1] == 0) {
            (,, uint40 ends,) = market.slot(file.deal.dealId);
            vm.warp(uint256(ends) + MAX_DISPUTE + 1);
        }
        settleAll(file, grounds, given);
        for (uint8 round = 0; round < v.decisions.length; ++round) {
            court.payCommittee(POOL, idOf(file), round);
        }
        (, uint8 open_,,) = market.slot(file.deal.dealId);
        vm.assertEq(open_, v.decisions.length == 0 || v.decisions[v.decisions.length - 1] == 1 ? 0 : 1);
        if (open_ == 0) {
            afterWindow();
            market.claim(file.deal);
        }
    }

    /* WHAT COMES OF IT */

    function remember() private {
        due[requester.addr] = freeOf(requester.addr) + v.requesterGets - v.price - v.verification;
        due[provider.addr] =
            freeOf(provider.addr) + stakeOf(provider.addr) + v.providerGets - v.price / 10 - v.fraudBond;
        for (uint256 i = 0; i < 3; ++i) {
            if (i != 0 || v.ofRequester == 0) due[party(i)] = freeOf(party(i));
        }
        for (uint256 i = 0; i < v.answers.length; ++i) {
            due[party(i)] = due[party(i)] + v.challengersGet[i] - v.verification - GAS;
        }
        due[stranger.addr] = freeOf(stranger.addr) + v.appellantsGet;
        for (uint256 i = 0; i < MANY; ++i) {
            due[arbiters[i]] = heldBy(arbiters[i]);
        }
    }

    function check(string memory name, uint256 burned) private view {
        vm.assertEq(freeOf(requester.addr), due[requester.addr], name);
        vm.assertEq(freeOf(provider.addr) + stakeOf(provider.addr), due[provider.addr], name);
        vm.assertEq(lockedOf(provider.addr), 0, name);
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(freeOf(party(i)), due[party(i)], name);
        }
        vm.assertEq(freeOf(stranger.addr) + appeals, due[stranger.addr], name);
        for (uint256 i = 0; i < MANY; ++i) {
            vm.assertEq(heldBy(arbiters[i]), due[arbiters[i]], name);
        }
        vm.assertEq(market.totalBurned(), burned + v.burned, name);
        assertCourtHolds(0);
    }

    function heldBy(address arbiter) private view returns (uint256) {
        (uint96 stake, uint96 fees,,) = pools.arbiterOf(POOL, arbiter);
        return uint256(stake) + fees;
    }

    function party(uint256 i) private view returns (address) {
        if (i == 0) return v.ofRequester == 0 ? challenger.addr : requester.addr;
        return i == 1 ? other.addr : hotKey.addr;
    }

    function answerOf(uint256 i) private view returns (bytes32) {
        return v.answers[i] == SHOWS_RIGHT ? RIGHT : keccak256(abi.encode("wrong", i));
    }
}
