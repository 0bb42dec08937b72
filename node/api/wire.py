"""The lines that travel over the API socket, one JSON object each.

A caller sends `{"call": name, "arguments": {…}}`. The node answers with any number of `{"item": …}`, then one
of `{"result": …}` or `{"error": {"kind": …, "sentence": …}}`; after that the connection takes another call.
"""

import dataclasses
import json
from typing import Any, Final, TypeVar, cast

from capanode.node.api.port import JobOrder, JobView, Json, ReplicaView, TimelineEntry
from capanode.protocol.faults import Fault, InvariantViolated, Misconfigured, Refused, Unavailable

MAX_REQUEST_BYTES: Final = 2 * 2**20
"""A job file has at most 1 MiB."""
MAX_REPLY_BYTES: Final = 64 * 2**20
"""A list of some ten thousand jobs with their timelines."""

_KINDS: Final[dict[str, type[Fault]]] = {
    kind.__name__: kind for kind in (Refused, Unavailable, Misconfigured, InvariantViolated)
}

View = TypeVar("View")


class BadLine(Refused):
    """A line that is not what this protocol says; the sender's mistake."""


def line(value: Json) -> bytes:
    """One object as a line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def value_of(data: bytes) -> Json:
    """The object that a line holds; raises `BadLine` for anything else."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadLine("the line is not JSON: send one object a line") from error
    if not isinstance(value, dict):
        raise BadLine("the line is not an object: send one object a line")
    return cast(Json, value)


def fault_json(fault: Fault) -> Json:
    """The error line of a fault; a kind that no caller can act on travels as `Unavailable`."""
    kind = next((name for name, known in _KINDS.items() if isinstance(fault, known)), "Unavailable")
    return {"error": {"kind": kind, "sentence": str(fault)}}


def fault_of(error: Any) -> Fault:
    """The fault that an error line tells of."""
    fields = cast(Json, error) if isinstance(error, dict) else {}
    sentence = str(fields.get("sentence", "the node failed without saying why: see its log"))
    return _KINDS.get(str(fields.get("kind")), Unavailable)(sentence)


def plain(view: Any) -> Any:
    """A view, or views in tuples and maps, as JSON values; bytes as 0x text."""
    if dataclasses.is_dataclass(view) and not isinstance(view, type):
        return {field.name: plain(getattr(view, field.name)) for field in dataclasses.fields(view)}
    if isinstance(view, (tuple, list)):
        return [plain(item) for item in cast(list[Any], view)]
    if isinstance(view, dict):
        return {str(key): plain(item) for key, item in cast(Json, view).items()}
    return f"0x{view.hex()}" if isinstance(view, bytes) else view


def job_order(fields: Any) -> JobOrder:
    """The order in a request; raises `BadLine` for a field that is missing, unknown or of another type."""
    order = _built(JobOrder, fields)
    for name, value in dataclasses.asdict(order).items():
        if not isinstance(value, str) and not (name == "image" and value is None):
            raise BadLine(f"the order's {name} is not text")
    return order


def job_view(fields: Any) -> JobView:
    """The job in a reply."""
    values = cast(Json, fields) if isinstance(fields, dict) else {}
    timeline = tuple(_built(TimelineEntry, entry) for entry in values.get("timeline", ()))
    replicas = tuple(_built(ReplicaView, replica) for replica in values.get("replicas", ()))
    return _built(JobView, {**values, "timeline": timeline, "replicas": replicas})


def _built(kind: type[View], fields: Any) -> View:
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # dataclasses only
    values = cast(Json, fields) if isinstance(fields, dict) else {}
    if values.keys() != names:
        raise BadLine(f"{kind.__name__} does not have the fields that are expected: are both of one version?")
    return kind(**values)
