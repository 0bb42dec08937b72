"""The published schema and the parser say the same about the same file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from capanode.node import jobfile
from capanode.node.jobfile import JobFileErrors, parse
from tests.jobfile.test_jobfile import BAD_FIELDS, CHECKED, MISTYPED, ONE, SMALLEST, THREE, TWO, WHOLE

SCHEMA = json.loads((Path(jobfile.__file__).parent / "schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema: `no` and dates are text, as in every editor that uses the schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for tag, pattern in (
    ("null", r"^(~|null|Null|NULL|)$"),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$"),
    ("int", r"^[-+]?[0-9]+$"),
    ("float", r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$"),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), None)


def fits_schema(text: str) -> bool:
    return VALIDATOR.is_valid(yaml.load(text, CoreLoader))  # noqa: S506


def parses(text: str) -> bool:
    try:
        parse(text)
    except JobFileErrors:
        return False
    return True


GOOD_FIELDS = [
    "version: 1",
    "command: python -V",
    "command: [a, 1, 2.5, true, '']",
    "command: []",
    "env: {A: 1, B: no, C: '', _x: 1.10}",
    "env: {}",
    "inputs: {x: ./y, z: {path: a}}",
    "inputs: {x: bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku}",
    f"inputs: {{x: {{url: 'https://example.org/a?b', sha256: {'0a' * 32}}}}}",
    "outputs: []",
    "outputs: [a, b/c, d/, ..e, f..]",
    "resources: {}",
    "resources: {cpu: 1, memory: 1GiB, disk: 10 MB}",
    'resources: {cpu: "0.25", memory: 4194304, disk: 1.5GiB}',
    "resources: {gpu: {}}",
    "resources: {gpu: {count: 2, compute: 8.6, memory: 1GiB, vendor: amd, model: MI300}}",
    "timeout: 90",
    "timeout: 1.5h",
    "steps: {limit: 1}",
    "steps: {limit: 65535, timeout: 1s, state: 1MiB}",
    "steps: {limit: 20}\nresources: {cpu: 2}",
    "deadline: 1d",
    "window: 30min",
    "retention: 10s",
    "verification: exact",
    "verification: none",
    "verification: replicated",
    "verification: {class: replicated}",
    "verification: {class: replicated, replicas: 5, comparators: {a.f32: {ulp: 4}}}",
    "verification: {class: exact, audit_rate: 0.2}",
    "verification: {audit_rate: 100%}",
    "verification: {audit_rate: '0.5'}",
    "verification: {class: tolerance, comparators: {'*.npz': {atol: 1e-6, rtol: 0.00001, max_bias: 50%}}}",
    "verification: {class: tolerance, comparators: {log: exact, a.f32: {ulp: 4, max_bad_fraction: 1%}}}",
    "verification: {class: tolerance, comparators: {x: {format: npy, rtol: 1e-5, whole: {rtol: '0.01'}}}}",
    "verification: {class: tolerance, comparators: {logits.npy: {top: 128, max_mantissa: 0.01}}}",
    "verification: {class: tolerance, comparators: {'**/*.png': {mean: 0.1%, block: 2%}}}",
    f"verification: {{class: exact, arbiters: [{TWO}, {ONE}]}}",
    f"verification: {{class: exact, arbiters: [{TWO}, {ONE}, {THREE}], quorum: 3, audit_rate: 0.1}}",
    f"verification: {{class: exact, arbiters: ['{CHECKED}'], quorum: 1}}",
    "name: a name with spaces",
]

SEMANTIC = {
    # What a schema cannot say: it would have to read sizes and durations, or split a shell's line.
    "command: 'a \"b'",
    'command: ["\\0"]',
    'name: "a\\e[2J"',
    "resources: {cpu: 0.0001}",
    "resources: {cpu: 0.1230000000000000000000000000000001}",
    "resources: {cpu: 0}",
    "resources: {cpu: .inf}",
    "resources: {cpu: 1e999999999}",
    "resources: {memory: 1}",
    "resources: {memory: 99999999TiB}",
    "resources: {gpu: {compute: 8.65}}",
    "timeout: 100ms",
    "timeout: 8d",
    "steps: {limit: 2, state: 1}",
    "steps: {limit: 60000, timeout: 1m}",
    "deadline: 5m",
    "retention: 100000d",
    "verification: {class: exact, audit_rate: 0.00000001}",
    f"verification: {{class: exact, arbiters: ['{MISTYPED}']}}",
    f"verification: {{class: exact, arbiters: [{ONE}, {TWO}, {THREE}], quorum: 4}}",
    f"verification: {{class: exact, arbiters: [{ONE}, {TWO}], quorum: 1}}",
    "verification: {class: tolerance, comparators: {x: {atol: 1}}}",
    "verification: {class: tolerance, comparators: {/x.npy: {atol: 1}}}",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, max_bad_fraction: 1}}}",
    "verification: {class: tolerance, comparators: {x.png: {mean: 0.2, block: 0.1}}}",
    "verification: {class: tolerance, comparators: {x.png: {atol: 1}}}",
}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [WHOLE, SMALLEST])
def test_whole_files_fit(text: str) -> None:
    assert fits_schema(text)


@pytest.mark.parametrize("field", GOOD_FIELDS)
def test_both_take_good_fields(field: str) -> None:
    text = SMALLEST + field
    assert (fits_schema(text), parses(text)) == (True, True)


@pytest.mark.parametrize("field", sorted(BAD_FIELDS.keys() - SEMANTIC))
def test_both_refuse_bad_fields(field: str) -> None:
    text = SMALLEST + field
    assert (fits_schema(text), parses(text)) == (False, False)


@pytest.mark.parametrize("field", sorted(SEMANTIC))
def test_only_the_parser_sees_meanings(field: str) -> None:
    text = SMALLEST + field
    assert (fits_schema(text), parses(text)) == (True, False)


@pytest.mark.parametrize(
    "text", ["image: x", "price_cap: 1", "image: x\nprice_cap: free", "image: ''\nprice_cap: 1", "- a", "{}"]
)
def test_both_need_the_same_fields(text: str) -> None:
    assert (fits_schema(text), parses(text)) == (False, False)


def test_every_field_of_the_parser_is_in_the_schema() -> None:
    from capanode.node.jobfile.parse import FIELDS

    assert set(SCHEMA["properties"]) == set(FIELDS)


def test_every_field_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "jobfile.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert documented == set(SCHEMA["properties"])
    inner = {
        *SCHEMA["$defs"]["closeness"]["properties"],
        *(name for one in SCHEMA["$defs"]["comparator"]["oneOf"] for name in one.get("properties", {})),
        *SCHEMA["properties"]["resources"]["properties"],
        *SCHEMA["properties"]["resources"]["properties"]["gpu"]["properties"],
        *SCHEMA["properties"]["verification"]["oneOf"][1]["properties"],
    }
    assert all(f"`{name}`" in page for name in inner)


def test_the_documented_example_is_a_job_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "jobfile.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert (fits_schema(example), parses(example)) == (True, True)
