"""From the text of a job file to a `JobFile`, or every mistake in it at once.

**Source**: docs/jobfile.md; `schema.json` beside this module says the same for editors.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from capanode.node.jobfile import comparators, values, yaml_tree
from capanode.node.jobfile.job_file import InputSource, JobFile
from capanode.node.jobfile.problems import JobFileErrors, Problem
from capanode.node.jobfile.yaml_tree import Leaf, Listing, Node, Table, Unreadable
from capanode.proofs.step import RESERVED_VARIABLES
from capanode.proofs.tree import is_path
from capanode.protocol.comparator import MAX_RULES, Comparator, FileRule
from capanode.protocol.ids import ZERO_DIGEST, Address, Ppm, Wei
from capanode.protocol.judging import JUDGED
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import (
    MAX_INPUTS,
    MAX_STEPS,
    MAX_TEXT_BYTES,
    GpuNeed,
    Resources,
    Steps,
    VerificationClass,
    whole_resources,
)
from capanode.protocol.replicas import LEAST_REPLICAS

T = TypeVar("T")

DEFAULT_RESOURCES: Final = Resources(
    cpu_millis=1000, memory_bytes=512 * 2**20, disk_bytes=256 * 2**20, timeout_s=600, gpu=None
)
DEFAULT_STEP_S: Final = 60
DEFAULT_STATE_BYTES: Final = 64 * 2**20
DEFAULT_RETENTION_S: Final = 86_400
MAX_SPAN_S: Final = 2**31
MAX_OUTPUTS: Final = 1024

FIELDS: Final = (
    "version",
    "name",
    "image",
    "command",
    "env",
    "inputs",
    "outputs",
    "resources",
    "timeout",
    "steps",
    "deadline",
    "price_cap",
    "verification",
    "window",
    "retention",
)
RESERVED: Final = {
    "secrets": "secrets are not supported yet; env is public, so keep secrets out of the job for now",
    "matrix": "matrix is reserved for a later version; submit one job for each combination",
    "count": "count is reserved for a later version; submit the job several times",
    "retries": "retries is reserved for a later version; submit the job again if it fails",
}

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET: Final = re.compile(
    r"(?:^|_)(?:SECRETS?|PASSWORD|PASSWD|PASSPHRASE|PWD|TOKEN|CREDENTIALS?|PRIVATE|(?:API)?KEY|AUTH|MNEMONIC)(?:$|_)",
    re.IGNORECASE,
)


def parse(text: str, *, path: str | Path = "the job file") -> JobFile:
    """The job that a file's text describes.

    Raises:
        JobFileErrors: everything that has to be changed, with lines.
    """
    try:
        root = yaml_tree.read(text)
    except Unreadable as error:
        raise JobFileErrors(str(path), [error.problem]) from error
    if not isinstance(root, Table):
        raise JobFileErrors(str(path), [Problem(root.line, "a job file is a table of fields, such as image: …")])
    problems: list[Problem] = []
    job = _job(_Section(root, "", FIELDS, problems, RESERVED))
    if problems:
        raise JobFileErrors(str(path), problems)
    return job


class _Section:
    """One table: hands out its fields, and notes what is wrong with them."""

    def __init__(
        self,
        table: Table,
        place: str,
        known: tuple[str, ...],
        problems: list[Problem],
        reserved: Mapping[str, str] | None = None,
    ) -> None:
        self.line = table.line
        self.problems = problems
        self._place = place
        self._nodes = {key.text: node for key, node in table.pairs}
        for key, _ in table.pairs:
            if reserved is not None and key.text in reserved:
                self.note(key.line, reserved[key.text])
            elif key.text not in known:
                self.note(key.line, f"{_label(place, key.text)} is no field{_nearest(key.text, known)}")

    def note(self, line: int, sentence: str) -> None:
        self.problems.append(Problem(line, sentence))

    def node(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def read(self, name: str, value: Callable[[Node], T], default: T) -> T:
        """The field's value; the default when it is missing, and after noting that it is wrong."""
        node = self._nodes.get(name)
        if node is None:
            return default
        try:
            return value(node)
        except ValueError as error:
            self.note(node.line, f"{_label(self._place, name)}: {error}")
            return default

    def require(self, name: str, value: Callable[[Node], T], default: T, why: str) -> T:
        if name not in self._nodes:
            self.note(self.line, f"{_label(self._place, name)} is missing; {why}")
        return self.read(name, value, default)

    def inner(self, name: str, known: tuple[str, ...]) -> "_Section | None":
        """The table in a field, None when there is none."""
        node = self._nodes.get(name)
        if node is None:
            return None
        if not isinstance(node, Table):
            self.note(node.line, f"{_label(self._place, name)} must be a table with {', '.join(known)}")
            return None
        return _Section(node, _label(self._place, name), known, self.problems)


def _job(file: _Section) -> JobFile:
    file.read("version", _version, None)
    steps = _steps(file)
    resources, hardware_class = _resources(file, steps)
    verification, audit_rate, deterministic_stdout, comparator, replicas, named = _verification(file)
    warnings: list[Problem] = []
    return JobFile(
        name=file.read("name", values.name, ""),
        image=file.require("image", values.text, "", "name the container image to run"),
        argv=file.read("command", values.command, ()),
        env=_env(file, warnings),
        inputs=_inputs(file),
        outputs=file.read("outputs", _outputs, ()),
        resources=resources,
        steps=steps,
        hardware_class=hardware_class,
        deadline_s=_deadline(file, resources.timeout_s),
        price_cap_wei=file.require(
            "price_cap", values.amount_wei, Wei(1), "state the most that it may cost, in tokens"
        ),
        verification=verification,
        replicas=replicas,
        audit_rate_ppm=audit_rate,
        deterministic_stdout=deterministic_stdout,
        comparator=comparator,
        named=named,
        window_s=file.read("window", _span, None),
        retention_s=file.read("retention", _span, DEFAULT_RETENTION_S),
        warnings=tuple(warnings),
    )


def _version(node: Node) -> None:
    if values.count(node) != 1:
        raise ValueError("this release reads version 1; update capanode for later ones")


def _steps(file: _Section) -> Steps | None:
    section = file.inner("steps", ("limit", "timeout", "state"))
    if section is None:
        return None
    why = "state how many times the program is called at most"
    steps = Steps(
        limit=section.require("limit", _step_limit, 1, why),
        timeout_s=section.read("timeout", _limit("timeout_s", values.seconds), DEFAULT_STEP_S),
        state_bytes=section.read("state", _limit("disk_bytes", values.size_bytes), DEFAULT_STATE_BYTES),
    )
    try:
        whole_resources(DEFAULT_RESOURCES, steps)
    except ValueError as error:
        section.note(section.line, f"steps: of all steps together, {error}; state fewer or smaller ones")
        return replace(steps, limit=1)
    return steps


def _step_limit(node: Node) -> int:
    limit = values.count(node)
    if not 1 <= limit <= MAX_STEPS:
        raise ValueError(f"is out of range (1 to {MAX_STEPS})")
    return limit


def _resources(file: _Section, steps: Steps | None) -> tuple[Resources, str]:
    whole = DEFAULT_RESOURCES
    timeout = file.read("timeout", _limit("timeout_s", values.seconds), whole.timeout_s)
    section = file.inner("resources", ("cpu", "memory", "disk", "gpu", "hardware_class"))
    if steps is not None:
        if (node := file.node("timeout")) is not None:
            file.note(node.line, "timeout: each step has its own; state steps.timeout instead")
        if section is not None and (node := section.node("disk")) is not None:
            file.note(node.line, "resources.disk: each step has its own; state steps.state instead")
        whole = whole_resources(whole, steps)
        timeout = whole.timeout_s
    if section is None:
        return replace(whole, timeout_s=timeout), ""
    resources = Resources(
        cpu_millis=section.read("cpu", _limit("cpu_millis", values.cpu_millis), whole.cpu_millis),
        memory_bytes=section.read("memory", _limit("memory_bytes", values.size_bytes), whole.memory_bytes),
        disk_bytes=section.read("disk", _limit("disk_bytes", values.size_bytes), whole.disk_bytes),
        timeout_s=timeout,
        gpu=_gpu(section),
    )
    return resources, section.read("hardware_class", values.name, "")


def _limit(name: str, value: Callable[[Node], int]) -> Callable[[Node], int]:
    """The same value, refused where the protocol's records would refuse it."""

    def within(node: Node) -> int:
        found = value(node)
        changes: dict[str, Any] = {name: found}
        replace(DEFAULT_RESOURCES, **changes)
        return found

    return within


def _gpu(resources: _Section) -> GpuNeed | None:
    section = resources.inner("gpu", ("count", "vendor", "model", "memory", "compute"))
    if section is None:
        return None
    line = section.line
    try:
        return GpuNeed(
            count=section.read("count", values.count, 1),
            vendor=section.read("vendor", values.name, ""),
            model=section.read("model", values.name, ""),
            min_memory_bytes=section.read("memory", values.size_bytes, 0),
            min_compute_capability=section.read("compute", values.compute_capability, 0),
        )
    except ValueError as error:
        section.note(line, f"resources.gpu: {error}")
        return None


def _deadline(file: _Section, timeout_s: int) -> int | None:
    def after_the_timeout(node: Node) -> int:
        deadline_s = _span(node)
        if deadline_s < timeout_s:
            raise ValueError(f"is shorter than the timeout of {timeout_s} s; give the job more time")
        return deadline_s

    return file.read("deadline", after_the_timeout, None)


def _verification(
    file: _Section,
) -> tuple[VerificationClass, Ppm | None, bool, Comparator | None, int, NamedSet | None]:
    node = file.node("verification")
    if not isinstance(node, Table):
        chosen, comparator = file.read("verification", values.verification, VerificationClass.NONE), None
        audit_rate, deterministic_stdout, named = None, False, None
        replicas = LEAST_REPLICAS if chosen is VerificationClass.REPLICATED else 1
    else:
        known = ("class", "audit_rate", "deterministic_stdout", "comparators", "replicas", "arbiters", "quorum")
        section = _Section(node, "verification", known, file.problems)
        chosen = section.read("class", values.verification, VerificationClass.NONE)
        audit_rate = section.read("audit_rate", values.rate_ppm, None)
        deterministic_stdout = section.read("deterministic_stdout", values.truth, default=False)
        comparator, replicas, named = _comparator(section), _replicas(section, chosen), _named(section, chosen)
    needs, may = comparators.place(chosen)
    if node is not None and needs and comparator is None:
        file.note(node.line, f"verification.comparators is missing; {chosen} needs bounds for what may differ")
    if node is not None and comparator is not None and not may:
        file.note(node.line, f"verification.comparators: {chosen} compares nothing by its values; leave them out")
    return chosen, audit_rate, deterministic_stdout, comparator, replicas, named


def _named(verification: _Section, chosen: VerificationClass) -> NamedSet | None:
    """The arbiters that the job names; more than half of them decide, unless it wants more."""
    node = verification.node("arbiters")
    if node is None:
        if (alone := verification.node("quorum")) is not None:
            verification.note(alone.line, "verification.quorum: is of named arbiters; list them as arbiters")
        return None
    if chosen not in JUDGED:
        verification.note(node.line, f"verification.arbiters: nobody judges {chosen}; state class: exact or tolerance")
        return None
    nobody: tuple[Address, ...] = ()
    arbiters = verification.read("arbiters", values.arbiters, nobody)
    if not arbiters:
        return None
    least = len(arbiters) // 2 + 1

    def quorum(found: Node) -> int:
        return NamedSet(arbiters, values.count(found)).quorum

    return NamedSet(arbiters, verification.read("quorum", quorum, least))


def _replicas(verification: _Section, chosen: VerificationClass) -> int:
    if chosen is VerificationClass.REPLICATED:
        return verification.read("replicas", values.replicas, LEAST_REPLICAS)
    if (node := verification.node("replicas")) is not None:
        verification.note(node.line, f"verification.replicas: {chosen} is done once; state class: replicated")
    return 1


def _comparator(verification: _Section) -> Comparator | None:
    node = verification.node("comparators")
    if node is None:
        return None
    if not isinstance(node, Table) or not 0 < len(node.pairs) <= MAX_RULES:
        verification.note(node.line, f"verification.comparators: must be a table of 1 to {MAX_RULES} patterns")
        return None
    found: list[FileRule] = []
    for key, value in node.pairs:
        try:
            found.append(comparators.rule(key.text, value))
        except ValueError as error:
            verification.note(value.line, f"verification.comparators.{key.text[:60]}: {error}")
    # When nothing of it can be read, its mistakes are noted already; a stand-in keeps "is missing" from being said too.
    return Comparator(tuple(found) or (FileRule("*"),))


def _env(file: _Section, warnings: list[Problem]) -> tuple[tuple[str, str], ...]:
    node = file.node("env")
    if node is None:
        return ()
    if not isinstance(node, Table):
        file.note(node.line, "env: must be a table of names and values")
        return ()
    found: dict[str, str] = {}
    for key, value in node.pairs:
        if not _ENV_NAME.fullmatch(key.text):
            file.note(key.line, f"env: {key.text[:60]!r} is no name; use letters, digits and _")
        if key.text in RESERVED_VARIABLES:
            file.note(key.line, f"env.{key.text} is what each step finds its number in; choose another name")
        if _SECRET.search(key.text):
            warnings.append(
                Problem(key.line, f"env.{key.text[:60]} looks like a secret, but env is public: everybody can read it")
            )
        try:
            found[key.text] = values.as_written(value)
        except ValueError as error:
            file.note(value.line, f"env.{key.text[:60]}: {error}")
    if sum(len(name.encode()) + len(value.encode()) for name, value in found.items()) > MAX_TEXT_BYTES:
        file.note(node.line, "env: is longer than 64 KiB; put data in inputs")
    return tuple(sorted(found.items()))


def _inputs(file: _Section) -> tuple[tuple[str, InputSource], ...]:
    node = file.node("inputs")
    if node is None:
        return ()
    if not isinstance(node, Table):
        file.note(node.line, "inputs: must be a table of file names and where they come from")
        return ()
    if len(node.pairs) > MAX_INPUTS:
        file.note(node.line, f"inputs: has more than {MAX_INPUTS} files; put them into an archive")
    found: dict[str, InputSource] = {}
    for key, value in node.pairs:
        try:
            values.input_name(key.text)
        except ValueError as error:
            file.note(key.line, f"inputs.{key.text[:60]}: {error}")
        source = _input(file, key, value)
        if source is not None:
            found[key.text] = source
    return tuple(sorted(found.items()))


def _input(file: _Section, key: Leaf, node: Node) -> InputSource | None:
    place = f"inputs.{key.text[:60]}"
    if not isinstance(node, Table):
        try:
            return values.input_source(node)
        except ValueError as error:
            file.note(node.line, f"{place}: {error}")
            return None
    section = _Section(node, place, ("path", "cid", "url", "sha256", "size"), file.problems)
    stated = [name for name in ("path", "cid", "url") if section.node(name) is not None]
    if len(stated) != 1:
        file.note(node.line, f"{place}: needs exactly one of path, cid and url")
        return None
    match stated[0]:
        case "path":
            return section.read("path", values.local_path, None)
        case "cid":
            return section.read("cid", values.cid, None)
        case _:
            return _url_input(section)


def _url_input(section: _Section) -> InputSource | None:
    why = "state the digest of its bytes, so that everybody gets the same"
    digest = section.require("sha256", values.sha256, None, why)
    size = section.read("size", values.size_bytes, None)
    return section.read("url", lambda node: values.url_input(values.text(node), digest or ZERO_DIGEST, size), None)


def _outputs(node: Node) -> tuple[str, ...]:
    if not isinstance(node, Listing):
        raise ValueError("must be a list of files and folders that the job leaves in /out")
    if len(node.items) > MAX_OUTPUTS:
        raise ValueError(f"names more than {MAX_OUTPUTS}")
    paths = tuple(values.text(item).rstrip("/") for item in node.items)
    for path in paths:
        if not is_path(path):
            raise ValueError(f"{path[:60]!r} is no path below /out")
    return paths


def _span(node: Node) -> int:
    value = values.seconds(node)
    if not 0 < value < MAX_SPAN_S:
        raise ValueError("is out of range (1 s to 68 years)")
    return value


def _label(place: str, name: str) -> str:
    return f"{place}.{name[:60]}" if place else name[:60]


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name[:60], known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; the fields here are {', '.join(known)}"
