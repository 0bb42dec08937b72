"""Which deaths of `make chaos-crash` come in one life, and where a process that has died before dies next."""

from capanode.node.fault_points import Armed
from tests.chaos.crash import DEATHS, Kill, Life, Place, armed_of, kills_of, lives_of, missed_of

PASSED = ["transaction.signed:before", "transaction.signed:after"] * 4
POINTS = ["trace.keep:before", "trace.keep:after", *PASSED]


def test_a_life_has_a_few_deaths_of_one_process_in_their_order() -> None:
    kills = kills_of({"lock": {"provider": POINTS}, "withheld": {"watcher": POINTS}}, "*")
    lives = lives_of(kills)
    assert sorted(map(str, kills)) == sorted(str(kill) for life in lives for kill in life)
    assert max(len(life) for life in lives if life[0].scenario == "lock") == DEATHS[Place.TOWN]
    assert max(len(life) for life in lives if life[0].scenario == "withheld") == DEATHS[Place.COURT]
    for life in lives:
        assert len({(kill.scenario, kill.who) for kill in life}) == 1
        assert [kill.place for kill in life] == sorted(kill.place for kill in life)


def test_a_challenger_dies_at_each_transaction_on_its_way_down() -> None:
    kills = kills_of({"withheld": {"watcher": POINTS, "requester": PASSED}}, "*")
    assert {kill.point for kill in kills if kill.who == "watcher"} == set(POINTS)
    assert {(kill.point, kill.passage) for kill in kills if kill.point in PASSED and kill.who == "watcher"} == {
        (point, passage) for point in PASSED for passage in (1, 2, 3)
    }
    assert {kill.passage for kill in kills if kill.who == "requester"} == {1}


def test_what_anybody_may_send_in_a_dispute_nobody_has_to_die_over() -> None:
    bought = {"requester": PASSED[:2], "provider": PASSED[:2]}
    kills = kills_of({"award": bought, "asked": {"provider": PASSED, "requester": PASSED}}, "*")
    assert {kill.scenario for kill in kills if kill.who == "requester"} == {"award"}
    assert {kill.passage for kill in kills if kill.who == "provider" and kill.scenario == "asked"} == {1, 2, 3}


def test_a_passage_is_counted_from_the_death_before() -> None:
    life = tuple(Kill("withheld", "watcher", POINTS[place], place // 2, place) for place in (1, 4, 5, 9))
    assert armed_of(life, POINTS) == [
        Armed("trace.keep:after", 0),
        Armed("transaction.signed:before", 2),
        Armed("transaction.signed:after", 1),
        Armed("transaction.signed:after", 2),
    ]


def test_what_a_life_missed_is_lived_through_together_and_then_one_by_one() -> None:
    life = tuple(Kill("withheld", "watcher", point, 1, place) for place, point in enumerate("abcde"))
    c, d, e = life[2:]
    lived: list[Life] = []

    def die(those: Life) -> int:
        """Nobody comes by `c`, and by `d` only who is not to die at `e` as well; every other life ends after two."""
        lived.append(those)
        return 0 if those[0] == c or those == (d, e) else min(2, len(those))

    assert missed_of(life, die, lambda kill: [kill, kill]) == [c]
    assert lived == [life, (c, d, e), (c,), (c,), (d, e), (d,), (e,)]
