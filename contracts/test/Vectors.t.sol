// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {Trace} from "../src/libraries/Trace.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {Commitment, DemandCore, Terms} from "../src/types/Deal.sol";
import {Market} from "./base/Market.sol";
import {MarketTest} from "./base/MarketTest.sol";

/// @notice The contracts against the golden vectors that the Python side reads too.
contract VectorsTest is MarketTest {
    string private json;
    string private traces;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("tests/vectors/typed_data.json");
        traces = vm.readFile("tests/vectors/trace.json");
        // The market computes its domain anew on another chain than it was made for, which lets the test move it.
        vm.chainId(1);
        address made = address(deployMarket(address(token), address(0)));
        market = Market(vm.parseJsonAddress(json, ".domain.market"));
        vm.etch(address(market), made.code);
        vm.chainId(vm.parseJsonUint(json, ".domain.chain_id"));
    }

    function test_DealIds() external {
        vm.assertEq(awardDigest(terms("award_direct")), word("award_direct", "digest"));
        vm.assertEq(awardDigest(terms("award_lock")), word("award_lock", "digest"));
        vm.assertEq(awardDigest(terms("award_largest")), word("award_largest", "digest"));
        checkAnnounced("announcement_award");
        checkAnnounced("announcement_first");
    }

    function test_AwardForAnAnnouncedDeal() external view {
        bytes32 hash = keccak256(abi.encode(TypedData.AWARD, terms("award_announced")));
        checkSigned("award_announced", hash, ".keys.requester");
    }

    function test_TypeHashes() external view {
        vm.assertEq(TypedData.AWARD, word("type_hashes", "Award"));
        vm.assertEq(TypedData.ANNOUNCEMENT, word("type_hashes", "Announcement"));
        vm.assertEq(TypedData.ACCEPT, word("type_hashes", "Accept"));
        vm.assertEq(TypedData.CANCEL_MUTUAL, word("type_hashes", "CancelMutual"));
        vm.assertEq(TypedData.PEER_BINDING, word("type_hashes", "PeerBinding"));
    }

    function test_Consents() external view {
        bytes32 dealId = word("accept", "dealId");
        checkSigned("accept", TypedData.accept(dealId), ".keys.requester");
        uint96 amount = uint96(number("cancel_mutual", "amount"));
        uint40 until = uint40(number("cancel_mutual", "validUntil"));
        bytes32 hash = TypedData.cancelMutual(word("cancel_mutual", "dealId"), amount, until);
        checkSigned("cancel_mutual", hash, ".keys.requester");
    }

    function test_PeerBinding() external view {
        bytes32 hash = TypedData.peerBinding(vm.parseJsonAddress(json, ".peer_binding.owner"));
        bytes32 digest = MessageHashUtils.toTypedDataHash(word("domain", "registry_separator"), hash);
        vm.assertEq(digest, word("peer_binding", "digest"));
    }

    function test_DemandDigest() external view {
        DemandCore memory core = DemandCore(
            word("demand_digest", "spec"),
            word("demand_digest", "input_root"),
            (number("demand_digest", "first_step") << 32) | number("demand_digest", "step_limit")
        );
        vm.assertEq(keccak256(abi.encode(core)), word("demand_digest", "digest"));
        core.steps =
            (number("demand_digest", "later_first_step") << 32) | number("demand_digest", "later_step_limit");
        vm.assertEq(keccak256(abi.encode(core)), word("demand_digest", "later_digest"));
    }

    function test_Tags() external view {
        vm.assertEq(Trace.LEAF, vm.parseJsonBytes32(traces, ".tags.leaf"));
        vm.assertEq(Trace.NODE, vm.parseJsonBytes32(traces, ".tags.node"));
        vm.assertEq(Trace.EMPTY, vm.parseJsonBytes32(traces, ".tags.empty"));
    }

    function test_Traces() external view {
        string[] memory names = vm.parseJsonKeys(traces, "$");
        for (uint256 i = 0; i < names.length; ++i) {
            if (keccak256(bytes(names[i])) != keccak256("tags")) checkTrace(string.concat(".", names[i]));
        }
    }

    /// @dev Through calldata, as the market has it.
    function rootOf(
        bytes32 dealId,
        DemandCore calldata core,
        Commitment calldata result,
        bytes32[] calldata trace
    ) external pure returns (bytes32) {
        return result.stepCount == 1
            ? Trace.rootOfOne(dealId, core, result)
            : Trace.rootOfMore(dealId, core, result, trace);
    }

    function checkTrace(string memory at) private view {
        uint32 steps = uint32(vm.parseJsonUint(traces, string.concat(at, ".steps")));
        uint256 firstStep = vm.parseJsonUint(traces, string.concat(at, ".first_step"));
        DemandCore memory core = DemandCore(
            0, vm.parseJsonBytes32(traces, string.concat(at, ".input_root")), firstStep << 32 | steps
        );
        Commitment memory result = Commitment({
            resultRoot: vm.parseJsonBytes32(traces, string.concat(at, ".result_root")),
            deliveryRoot: vm.parseJsonBytes32(traces, string.concat(at, ".delivery_root")),
            stdoutRoot: vm.parseJsonBytes32(traces, string.concat(at, ".stdout_root")),
            leavesCid: vm.parseJsonBytes32(traces, string.concat(at, ".leaves_cid")),
            stepCount: steps,
            status: uint8(vm.parseJsonUint(traces, string.concat(at, ".exit_code"))),
            amount: 0
        });
        bytes32 root = vm.parseJsonBytes32(traces, string.concat(at, ".trace_root"));
        bytes32 dealId = vm.parseJsonBytes32(traces, string.concat(at, ".deal_id"));
        vm.assertEq(this.rootOf(dealId, core, result, traceArgument(at, steps, root)), root);
        vm.assertEq(
            commitmentDigest(root, result),
            vm.parseJsonBytes32(traces, string.concat(at, ".commitment_digest"))
        );
    }

    function traceArgument(string memory at, uint32 steps, bytes32 root)
        private
        view
        returns (bytes32[] memory trace)
    {
        if (steps == 1) return new bytes32[](0);
        if (steps <= 16) return vm.parseJsonBytes32Array(traces, string.concat(at, ".leaves"));
        bytes32[] memory first = vm.parseJsonBytes32Array(traces, string.concat(at, ".first_proof"));
        bytes32[] memory last = vm.parseJsonBytes32Array(traces, string.concat(at, ".last_proof"));
        trace = new bytes32[](1 + first.length + last.length);
        trace[0] = root;
        for (uint256 i = 0; i < first.length; ++i) {
            trace[1 + i] = first[i];
            trace[1 + first.length + i] = last[i];
        }
    }

    function checkAnnounced(string memory name) private {
        Terms memory announcement = terms(name);
        vm.warp(announcement.assignBy);
        deposit(announcement.requester, uint256(announcement.price) + announcement.verification);
        vm.prank(announcement.requester);
        vm.assertEq(market.announce(announcement, ""), word(name, "deal_id"));
    }

    function checkSigned(string memory name, bytes32 structHash, string memory signer) private view {
        bytes32 digest = MessageHashUtils.toTypedDataHash(word("domain", "market_separator"), structHash);
        vm.assertEq(digest, word(name, "digest"));
        bytes memory signature = vm.parseJsonBytes(json, path(name, "signature"));
        vm.assertEq(ECDSA.recover(digest, signature), vm.parseJsonAddress(json, signer));
    }

    function terms(string memory name) private view returns (Terms memory) {
        return Terms({
            requester: vm.parseJsonAddress(json, path(name, "requester")),
            provider: vm.parseJsonAddress(json, path(name, "provider")),
            demandDigest: word(name, "demandDigest"),
            price: uint96(number(name, "price")),
            verification: uint96(number(name, "verification")),
            fraudBond: uint96(number(name, "fraudBond")),
            assignBy: uint40(number(name, "assignBy")),
            commitBy: uint40(number(name, "commitBy")),
            window: uint32(number(name, "window")),
            mode: uint8(number(name, "mode")),
            salt: number(name, "salt")
        });
    }

    function word(string memory name, string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, path(name, key));
    }

    function number(string memory name, string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, path(name, key));
    }

    function path(string memory name, string memory key) private pure returns (string memory) {
        return string.concat(".", name, ".", key);
    }
}
