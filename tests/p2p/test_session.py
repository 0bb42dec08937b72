"""A session's own tasks."""

from typing import Any, cast

import trio

from capanode.node.p2p.session import Session


async def test_a_task_that_comes_after_the_end_is_left_out() -> None:
    async with trio.open_nursery() as nursery:
        session = Session(cast(Any, None), cast(Any, None), nursery)

    async def late() -> None:
        raise AssertionError("the session has ended")

    session.spawn(late)
