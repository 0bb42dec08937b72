"""A job as its author describes it: checked, but with local paths, tags and other loose ends not resolved yet."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from capanode.node.jobfile.problems import Problem
from capanode.protocol.comparator import Comparator
from capanode.protocol.ids import Cid, Digest, Ppm, Wei
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import Resources, Steps, VerificationClass


@dataclass(frozen=True, slots=True)
class LocalInput:
    """A file on the requester's machine; a relative path is relative to the job file."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class CidInput:
    """A blob that the requester's node holds already."""

    cid: Cid


@dataclass(frozen=True, slots=True)
class UrlInput:
    """A file that the provider downloads by https; `size_bytes` is None when the author did not state it."""

    url: str
    sha256: Digest
    size_bytes: int | None


InputSource = LocalInput | CidInput | UrlInput


@dataclass(frozen=True, slots=True)
class JobFile:
    """One job file, version 1. Source: docs/jobfile.md; `schema.json` beside this module.

    `image` is as written: a tag, `name@sha256:…`, or the path of a docker archive (`./image.tar`). `argv` empty
    means the image's own command. With `steps`, time limit and disk of the resources are those of all steps together.
    `deadline_s` counts from the submission; None, like every None here, leaves the choice to the node. `warnings` are
    things to think about that hinder nothing. `replicas` is how many providers do it, one but in class `replicated`.
    `named` are the arbiters that its author has chosen; None leaves judging to those of the hardware class.
    """

    name: str
    image: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, InputSource], ...]
    outputs: tuple[str, ...]
    resources: Resources
    steps: Steps | None
    hardware_class: str
    deadline_s: int | None
    price_cap_wei: Wei
    verification: VerificationClass
    replicas: int
    audit_rate_ppm: Ppm | None
    deterministic_stdout: bool
    comparator: Comparator | None
    named: NamedSet | None
    window_s: int | None
    retention_s: int
    warnings: tuple[Problem, ...]
