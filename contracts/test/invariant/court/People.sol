// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputeCourt} from "../../../src/interfaces/IDisputeCourt.sol";
import {IPools} from "../../../src/interfaces/IPools.sol";
import {TestToken} from "../../../src/mocks/TestToken.sol";
import {Terms} from "../../../src/types/Deal.sol";
import {Domain} from "../../base/Domain.sol";
import {Market} from "../../base/Market.sol";
import {Test} from "../../base/Test.sol";

/// @notice How an arbiter acts, by its place.
enum Temper {
    HONEST,
    LAZY,
    ABSENT,
    COLLUDING
}

/// @notice Who plays: names, keys and money.
abstract contract People is Test {
    uint256 public constant REQUESTERS = 2;
    uint256 public constant PROVIDERS = 3;
    uint256 public constant CHALLENGERS = 3;
    uint256 public constant ARBITERS = 12;
    address internal constant STRANGER = address(0xbeef);
    string internal constant CLASS = "x86_64-v3";
    uint96 internal constant ARBITER_STAKE = 100 ether;
    /// @dev More than all deals lock at a time.
    uint96 private constant CEILING = 1 << 78;

    TestToken public immutable token;
    Market public immutable market;
    IDisputeCourt public immutable court;
    IPools public immutable pools;
    bytes32 public immutable pool = keccak256(bytes(CLASS));
    bytes32 public immutable named;

    address[] internal _actors;
    address[REQUESTERS] private _requesters;
    uint256 private _hands;

    constructor(Market market_, IDisputeCourt court_) {
        market = market_;
        court = court_;
        pools = court_.pools();
        token = TestToken(address(market_.token()));
        for (uint256 i = 0; i < REQUESTERS; ++i) {
            _requesters[i] = vm.addr(_secretOf(i));
            _hire(_requesters[i]);
        }
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            _hire(provider(i));
            _hire(puppet(provider(i)));
        }
        for (uint256 i = 0; i < CHALLENGERS; ++i) {
            _hire(challenger(i));
        }
        for (uint256 i = 0; i < ARBITERS; ++i) {
            _hire(arbiter(i));
            _enroll(arbiter(i));
        }
        _actors.push(STRANGER);
        named = pools.nameSet(_sorted());
    }

    /* NAMES */

    function actors() external view returns (address[] memory) {
        return _actors;
    }

    function requester(uint256 i) internal view returns (address) {
        return _requesters[i % REQUESTERS];
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

    /* KEYS */

    function hotKeyOf(address wallet) public pure returns (address) {
        return address(uint160(wallet) ^ 1);
    }

    /// @notice Who sends for a wallet this time: every third time its hot key.
    function _handOf(address wallet) internal returns (address) {
        return ++_hands % 3 == 0 ? hotKeyOf(wallet) : wallet;
    }

    function _signed(Terms memory award) internal view returns (bytes memory) {
        uint256 i = award.requester == _requesters[0] ? 0 : 1;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_secretOf(i), Domain.award(address(market), award));
        return abi.encodePacked(r, s, v);
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

    /// @notice Sees to it that a provider has this much stake that no deal locks.
    function _stake(address who, uint256 needed) internal {
        (, uint80 staked, uint80 locked) = market.accountOf(who);
        uint256 unlocked = staked - locked;
        if (unlocked >= needed) return;
        _afford(who, needed - unlocked);
        vm.prank(who);
        market.stake(uint96(needed - unlocked));
    }

    function _enroll(address who) internal {
        _afford(who, ARBITER_STAKE);
        vm.prank(who);
        pools.enroll(CLASS, ARBITER_STAKE);
    }

    /* PARTS */

    function _hire(address who) private {
        _actors.push(who);
        vm.prank(who);
        market.setHotKey(hotKeyOf(who), CEILING);
    }

    function _person(string memory name, uint256 i) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode(name, i)))));
    }

    function _secretOf(uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("requester", i)));
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
