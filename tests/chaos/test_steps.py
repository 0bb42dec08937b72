"""No durable step is forgotten: each has a name, and `make chaos-crash` kills a process at each."""

import re
from fnmatch import fnmatchcase

from tests.chaos.passed import UNREACHED, read
from tests.chaos.steps import steps, unmarked

STEPS = steps()
NAME = re.compile(r"[a-z0-9]+(\.([a-z0-9-]+|\*))+")


def test_steps_are_named_area_and_verb_and_each_name_stands_once() -> None:
    names = [step.name for step in STEPS]
    assert len(names) >= 60
    assert [name for name in names if not NAME.fullmatch(name)] == []
    twice = sorted({name for name in names if names.count(name) > 1})
    assert twice == [], f"{twice} stand in two places: a kill could not tell them apart"


def test_nothing_durable_is_done_outside_of_a_named_step() -> None:
    assert unmarked() == [], "wrap these in `with durable(…)`, or write with `write_whole`"


def test_every_step_is_passed_by_a_scenario_or_has_a_reason_why_not() -> None:
    passed = set().union(*read().values())
    missing = [
        f"{step.name} ({step.place})"
        for step in STEPS
        if not any(step.covers(name) for name in passed)
        and not any(fnmatchcase(step.name, pattern) for pattern in UNREACHED)
    ]
    assert missing == [], "write a scenario that passes them (tests/chaos/scenarios.py), then run `make chaos-crash`"


def test_the_record_speaks_of_steps_that_the_code_has() -> None:
    passed = set().union(*read().values())
    assert sorted(name for name in passed if not any(step.covers(name) for step in STEPS)) == []
    assert [pattern for pattern in UNREACHED if not any(fnmatchcase(step.name, pattern) for step in STEPS)] == []
