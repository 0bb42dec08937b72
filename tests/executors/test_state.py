"""A step's state: it goes in as its canonical tree and nothing else, and what the program leaves comes out."""

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from capanode.node.executed.steps import EMPTY, Computed, Step, run_step
from capanode.node.executors.docker import DockerExecutor, DockerSettings, OutputWay, output_way, run_docker_executor
from capanode.node.executors.port import ExecutionId, PreparedImage, State
from capanode.node.images.reference import ArchivedImage, ImageId
from capanode.node.storage.tree_walk import BadContent, Tree, content_of, walk_here
from capanode.proofs.tree import EntryType
from capanode.protocol.ids import Digest
from capanode.protocol.records import Image, RegistryImage, Resources, Spec, Steps, VerificationClass
from tests.executors.running import MIB, finished, python_job

LOOK = """
import os, stat
for path in ["/state/deep", "/state/deep/run.sh", "/state/notes.txt", "/state/way"]:
    found = os.lstat(path)
    print(path, oct(found.st_mode & 0o777), found.st_uid, found.st_gid, found.st_mtime_ns)
print(os.readlink("/state/way"), open("/state/notes.txt").read(), stat.filemode(os.stat("/state").st_mode))
open("/state/notes.txt", "a").write("!")
os.remove("/state/way")
"""
COUNT = """
import os, pathlib
step, steps = int(os.environ["CAPANODE_STEP"]), int(os.environ["CAPANODE_STEPS"])
total = pathlib.Path("/state/total")
found = int(total.read_text()) if total.exists() else 0
pathlib.Path("/tmp/left").exists() and print("something survived")
pathlib.Path("/tmp/left").touch()
total.write_text(str(found + step))
print(step, steps, found)
"""


@pytest.fixture(params=[OutputWay.MEMORY, OutputWay.DISK])
async def either(settings: DockerSettings, request: pytest.FixtureRequest) -> AsyncIterator[DockerExecutor]:
    """An executor that keeps outputs in the one way, then in the other where this machine lets it."""
    way: OutputWay = request.param
    outputs = way if output_way() is OutputWay.DISK else OutputWay.MEMORY
    async with trio.open_nursery() as nursery:
        running: DockerExecutor = await nursery.start(run_docker_executor, replace(settings, outputs=outputs))
        yield running
        for execution in running.known():
            await running.release(execution)
        nursery.cancel_scope.cancel()


def state_in(folder: Path) -> State:
    found = walk_here(folder)
    assert isinstance(found, Tree)
    return State(found.entries, content_of(folder))


async def test_a_state_goes_in_as_its_tree_and_comes_out_changed(
    either: DockerExecutor, packed_python: tuple[Path, ArchivedImage], tmp_path: Path
) -> None:
    archive, reference = packed_python
    image = await either.prepare(reference, archive=archive, progress=lambda _: None)
    before = tmp_path / "before"
    (before / "deep").mkdir(parents=True)
    (before / "deep" / "run.sh").write_bytes(b"#!")
    (before / "deep" / "run.sh").chmod(0o755)
    (before / "notes.txt").write_text("well")
    (before / "way").symlink_to("/in/data")
    request = replace(python_job(image, LOOK), state=state_in(before))
    outcome = await finished(either, request)
    owned = "65534 65534 0"
    assert outcome.stdout_tail.decode().splitlines() == [
        f"/state/deep 0o755 {owned}",
        f"/state/deep/run.sh 0o755 {owned}",
        f"/state/notes.txt 0o644 {owned}",
        f"/state/way 0o777 {owned}",
        "/in/data well drwxr-xr-x",
    ]
    assert outcome.outputs is not None
    after = state_in(outcome.outputs)
    assert [entry.path for entry in after.entries] == ["deep", "deep/run.sh", "notes.txt"]
    with after.content(after.entries[2]) as file:
        assert file.read() == b"well!"


async def test_a_state_with_other_bytes_never_reaches_a_program(
    executor: DockerExecutor, image: PreparedImage, tmp_path: Path
) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "file").write_bytes(b"right")
    right = state_in(tmp_path / "before")
    wrong = State((replace(right.entries[0], content=Digest(bytes(32))),), right.content)
    with pytest.raises(BadContent):
        await finished(executor, replace(python_job(image, "print(1)"), state=wrong))
    assert not executor.known()


def counting(image: ImageId, script: str, timeout_s: int = 20) -> Spec:
    return Spec(
        image=Image(RegistryImage(f"test@{image}"), None),
        argv=("-c", script),
        env=(),
        inputs=(),
        resources=Resources(1000, 128 * MIB, 3 * 4 * MIB, 3 * timeout_s, None),
        verification=VerificationClass.EXACT,
        deterministic_stdout=True,
        steps=Steps(3, timeout_s, 4 * MIB),
    )


async def test_each_step_begins_with_the_state_that_the_last_one_left_and_nothing_else(
    executor: DockerExecutor, image: PreparedImage
) -> None:
    spec, state, found = counting(image.image_id, COUNT), EMPTY, list[Computed]()
    for index in range(3):
        execution = ExecutionId(f"{index:032x}")
        found.append(await run_step(executor, Step(spec, index, 3, state), execution, image.image_id, ()))
        state = found[-1].state
    assert [one.outcome.stdout_tail for one in found] == [b"0 3 0\n", b"1 3 0\n", b"2 3 1\n"]
    assert [one.leaf.index for one in found] == [1, 2, 3]
    assert [one.leaf.done for one in found] == [False, False, True]
    assert [entry.type for entry in state.entries] == [EntryType.FILE]
    again = await run_step(executor, Step(spec, 2, 3, found[1].state), ExecutionId("ff"), image.image_id, ())
    assert again.leaf == found[2].leaf, "a step taken again from the same state has the same leaf"


async def test_a_step_that_is_cut_off_leaves_the_state_as_it_was(
    executor: DockerExecutor, image: PreparedImage
) -> None:
    script = "open('/state/half', 'w').write('x'); import time; time.sleep(60)"
    spec = counting(image.image_id, script, timeout_s=1)
    cut = await run_step(executor, Step(spec, 0, 3, EMPTY), ExecutionId("aa"), image.image_id, ())
    assert (cut.leaf.exit_code, cut.leaf.done, cut.state) == (124, True, EMPTY)


async def test_the_end_of_standard_output_is_part_of_the_leaf_up_to_64_kib(
    executor: DockerExecutor, image: PreparedImage
) -> None:
    spec = counting(image.image_id, "print('a' * 40_000); print('b' * 60_000, end='')")
    printed = await run_step(executor, Step(spec, 0, 3, EMPTY), ExecutionId("bb"), image.image_id, ())
    whole = b"a" * 40_000 + b"\n" + b"b" * 60_000
    assert printed.leaf.stdout_root == sha256(whole[-65_536:]).digest()
