// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../src/interfaces/IDisputeCourt.sol";
import {IPools} from "../../src/interfaces/IPools.sol";
import {Files} from "../../src/libraries/Files.sol";
import {Trace} from "../../src/libraries/Trace.sol";
import {TestToken} from "../../src/mocks/TestToken.sol";
import {CasePhase, File, Grounds, Kind, Verdict, Vote} from "../../src/types/Case.sol";
import {Claim, Phase, Terms} from "../../src/types/Deal.sol";
import {Class} from "../../src/types/Rules.sol";
import {Market} from "../base/Market.sol";
import {Test} from "../base/Test.sol";

/// @notice What is really wrong with a committed result.
/// @dev WRONG: another leaf than execution gives. UNSTABLE: execution gives now this, now that. MISSING: its bytes cannot be
/// had. MALFORMED: a leaf says what none may. SILENT: nothing, but its provider does not show withheld leaves.
enum Fault {
    NONE,
    WRONG,
    UNSTABLE,
    MISSING,
    MALFORMED,
    SILENT
}

/// @notice What is known of a deal besides what the chain says of it: the truth, and what should be.
struct Dealing {
    Claim claim;
    Fault fault;
    /// @dev The leaf that is at fault.
    uint256 at;
    Phase phase;
    uint256 open;
    bool spent;
    /// @dev No longer judged by an honest majority in time, so nothing is promised.
    bool waived;
}

/// @notice A case, and what should come of it.
struct Dispute {
    uint256 deal;
    File file;
    bool ended;
    /// @dev Judged by an honest majority so far.
    bool fair;
    /// @dev The leaf in question, and in a forced reveal the node asked about, counted from 1 as in a heap.
    uint256 position;
    uint256 node;
    /// @dev Bonds and appeals that the court holds for it.
    uint256 locked;
    uint8 paidRounds;
}

/// @notice One that has put down a bond.
struct Contender {
    address who;
    bytes32 hidden;
    bytes32 answer;
    /// @dev Intends to show its answer, and has done so.
    bool shows;
    bool shown;
    /// @dev Its answer is what an honest execution gives.
    bool right;
}

/// @notice How an arbiter acts, by its place.
enum Temper {
    HONEST,
    LAZY,
    ABSENT,
    COLLUDING
}

/// @notice Remembers deals and cases, knows the truth about them, and counts what has happened.
abstract contract CourtBook is Test {
    uint256 public constant REQUESTERS = 2;
    uint256 public constant PROVIDERS = 3;
    uint256 public constant CHALLENGERS = 3;
    uint256 public constant ARBITERS = 12;
    string internal constant CLASS = "x86_64-v3";
    bytes32 internal constant SALT = keccak256("salt");
    uint96 internal constant ARBITER_STAKE = 100 ether;
    uint8 internal constant QUORUM = 3;

    TestToken public immutable token;
    Market public immutable market;
    IDisputeCourt public immutable court;
    IPools public immutable pools;
    bytes32 public immutable pool = keccak256(bytes(CLASS));
    bytes32 public immutable named;

    Dealing[] internal _deals;
    mapping(uint256 deal => Grounds) internal _grounds;
    Dispute[] internal _disputes;
    mapping(uint256 dispute => Contender[]) internal _contenders;
    uint256[] internal _openCases;
    address[] internal _actors;

    /// @dev How often each has been seen.
    mapping(CasePhase => uint256) public phases;
    mapping(Verdict => uint256) public verdicts;
    mapping(Kind => uint256) public kinds;
    mapping(Phase => uint256) public ends;
    mapping(Fault => uint256) public faults;
    mapping(bytes32 what => uint256) public seen;

    constructor(Market market_, IDisputeCourt court_) {
        market = market_;
        court = court_;
        pools = court_.pools();
        token = TestToken(address(market_.token()));
        _hire("requester", REQUESTERS);
        _hire("provider", PROVIDERS);
        _hire("puppet", PROVIDERS);
        _hire("challenger", CHALLENGERS);
        _hire("arbiter", ARBITERS);
        _actors.push(address(0xbeef));
        for (uint256 i = 0; i < ARBITERS; ++i) {
            _afford(arbiter(i), ARBITER_STAKE);
            vm.prank(arbiter(i));
            pools.enroll(CLASS, ARBITER_STAKE);
        }
        named = pools.nameSet(_sorted());
    }

    /* WHO */

    function actors() external view returns (address[] memory) {
        return _actors;
    }

    function requester(uint256 i) internal pure returns (address) {
        return _person("requester", i % REQUESTERS);
    }

    function provider(uint256 i) internal pure returns (address) {
        return _person("provider", i % PROVIDERS);
    }

    /// @notice Another name of the same provider.
    function puppet(address of_) internal pure returns (address) {
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            if (provider(i) == of_) return _person("puppet", i);
        }
        revert("no provider");
    }

    function challenger(uint256 i) internal pure returns (address) {
        return _person("challenger", i % CHALLENGERS);
    }

    function arbiter(uint256 i) public pure returns (address) {
        return _person("arbiter", i % ARBITERS);
    }

    /// @notice Nine of twelve are honest, and one of each other kind.
    function temperOf(address who) internal pure returns (Temper) {
        if (who == arbiter(1)) return Temper.LAZY;
        if (who == arbiter(5)) return Temper.ABSENT;
        if (who == arbiter(9)) return Temper.COLLUDING;
        return Temper.HONEST;
    }

    /* THE TRUTH */

    /// @notice What one who looks at a leaf finds.
    function truth(uint256 deal, uint256 kind, uint256 position)
        internal
        view
        returns (Vote vote, bytes32 leaf)
    {
        Dealing storage d = _deals[deal];
        bool faulty = d.at == position && d.fault != Fault.NONE && d.fault != Fault.SILENT;
        if (kind == uint256(Kind.DATA)) {
            return (faulty && d.fault == Fault.MISSING ? Vote.UNAVAILABLE : Vote.UPHOLD, 0);
        }
        if (!faulty) return (Vote.UPHOLD, leafAt(deal, position));
        if (d.fault == Fault.MISSING) return (Vote.UNAVAILABLE, 0);
        if (d.fault == Fault.UNSTABLE) return (Vote.UNREPRODUCIBLE, 0);
        return (Vote.OVERTURN, _exact(deal) ? rightLeaf(deal, position) : bytes32(0));
    }

    function verdictOf(Vote vote) internal pure returns (Verdict) {
        if (vote == Vote.UPHOLD) return Verdict.UPHELD;
        return vote == Vote.UNREPRODUCIBLE ? Verdict.VOID : Verdict.OVERTURNED;
    }

    /// @notice What a deal's execution gives at a place of its trace.
    function rightLeaf(uint256 deal, uint256 position) internal view returns (bytes32) {
        return _leaf(deal, position, 0, stateAt(deal, position, false));
    }

    /// @notice What the provider has committed there.
    function leafAt(uint256 deal, uint256 position) internal view returns (bytes32) {
        Dealing storage d = _deals[deal];
        bool at = d.at == position;
        uint256 offset = at && d.fault == Fault.MALFORMED ? 7 : 0;
        return _leaf(deal, position, offset, stateAt(deal, position, at && d.fault == Fault.WRONG));
    }

    function stateAt(uint256 deal, uint256 position, bool wrong) internal view returns (bytes32) {
        if (position == 0) return _grounds[deal].demand.inputRoot;
        return keccak256(abi.encode("state", deal, position, wrong));
    }

    /// @notice All nodes of the trace's tree, from 1 as in a heap.
    function tree(uint256 deal) internal view returns (bytes32[] memory nodes) {
        uint256 k = stepsOf(deal);
        uint256 width = 1 << Files.height(k);
        nodes = new bytes32[](2 * width);
        for (uint256 i = 0; i < width; ++i) {
            nodes[width + i] = i <= k ? leafAt(deal, i) : Trace.EMPTY;
        }
        for (uint256 i = width - 1; i > 0; --i) {
            nodes[i] = Trace.node(nodes[2 * i], nodes[2 * i + 1]);
        }
    }

    function proofIn(bytes32[] memory nodes, uint256 position)
        internal
        pure
        returns (bytes32[] memory proof)
    {
        uint256 height = 0;
        for (uint256 at = nodes.length / 2 + position; at > 1; at >>= 1) {
            ++height;
        }
        proof = new bytes32[](height);
        uint256 node = nodes.length / 2 + position;
        for (uint256 i = 0; i < height; ++i) {
            proof[i] = nodes[node ^ 1];
            node >>= 1;
        }
    }

    function stepsOf(uint256 deal) internal view returns (uint256) {
        return uint32(_grounds[deal].demand.steps);
    }

    function firstStepOf(uint256 deal) internal view returns (uint256) {
        return uint32(_grounds[deal].demand.steps >> 32);
    }

    function _exact(uint256 deal) internal view returns (bool) {
        return _grounds[deal].rules.class_ == uint8(Class.EXACT);
    }

    function _leaf(uint256 deal, uint256 position, uint256 offset, bytes32 state)
        private
        view
        returns (bytes32)
    {
        uint256 done = position == stepsOf(deal) ? 1 : 0;
        uint256 step = firstStepOf(deal) + position + offset;
        return Trace.leaf(_deals[deal].claim.dealId, step, state, 0, 0, done);
    }

    /* WHAT SHOULD BE */

    /// @notice What requesters have in deals that have not ended.
    function escrowed() external view returns (uint256 sum) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            Dealing storage d = _deals[i];
            if (d.phase >= Phase.FINALIZED) continue;
            sum += d.claim.terms.price + (d.spent ? 0 : uint256(d.claim.terms.verification));
        }
    }

    /// @notice What a provider has locked in deals that have not ended.
    function bondsOf(address who) external view returns (uint256 sum) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            Terms storage terms = _deals[i].claim.terms;
            if (_deals[i].phase >= Phase.FINALIZED || terms.provider != who) continue;
            sum += terms.fraudBond + terms.price / 10;
        }
    }

    /// @notice Bonds and prepaid appeals of the cases that have not ended.
    function lockedInCases() external view returns (uint256 sum) {
        for (uint256 i = 0; i < _openCases.length; ++i) {
            sum += _disputes[_openCases[i]].locked;
        }
    }

    /// @notice What all arbiters have in the court.
    function arbitersHold() external view returns (uint256 sum) {
        for (uint256 i = 0; i < ARBITERS; ++i) {
            (uint96 stake, uint96 fees,,) = pools.arbiterOf(pool, arbiter(i));
            (, uint96 namedFees,,) = pools.arbiterOf(named, arbiter(i));
            sum += uint256(stake) + fees + namedFees;
        }
    }

    function dealCount() external view returns (uint256) {
        return _deals.length;
    }

    /// @notice A deal's id, the phase that it should be in, and its open cases.
    function dealAt(uint256 i) external view returns (bytes32 id, Phase phase, uint256 open) {
        return (_deals[i].claim.dealId, _deals[i].phase, _deals[i].open);
    }

    function openCases() external view returns (uint256) {
        return _openCases.length;
    }

    function disputes() external view returns (uint256) {
        return _disputes.length;
    }

    /* MONEY */

    function free(address who) internal view returns (uint256 amount) {
        (amount,,) = market.accountOf(who);
    }

    /// @notice What is someone's, wherever it lies in the market.
    function worth(address who) internal view returns (uint256) {
        (uint96 free_, uint80 staked,) = market.accountOf(who);
        return uint256(free_) + staked;
    }

    /// @notice Sees to it that someone has this much free.
    function _afford(address who, uint256 amount) internal {
        uint256 has = free(who);
        if (has >= amount) return;
        token.mint(who, amount - has);
        vm.startPrank(who);
        token.approve(address(market), amount - has);
        market.deposit(amount - has);
        vm.stopPrank();
    }

    /* PARTS */

    function idOf(Dispute storage d) internal view returns (bytes32) {
        return Files.caseId(d.file.deal.dealId, d.file.kind, d.file.step, d.file.serial);
    }

    function poolOf(Dispute storage d) internal view returns (bytes32) {
        return _grounds[d.deal].rules.pool;
    }

    function _person(string memory name, uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode(name, i)))));
    }

    function _hire(string memory name, uint256 number) private {
        for (uint256 i = 0; i < number; ++i) {
            _actors.push(_person(name, i));
        }
    }

    /// @dev Five arbiters, three of them honest, in the order that a named set has.
    function _sorted() private pure returns (address[] memory set) {
        set = new address[](5);
        for (uint256 i = 0; i < 5; ++i) {
            address next = arbiter(i + 5); // 5 is absent, 9 colludes
            uint256 j = i;
            for (; j > 0 && set[j - 1] > next; --j) {
                set[j] = set[j - 1];
            }
            set[j] = next;
        }
    }
}
