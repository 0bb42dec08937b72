from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.jobfile import CidInput, JobFile, JobFileErrors, LocalInput, UrlInput, parse, yaml_tree
from capanode.protocol.ids import Address, Cid, Digest
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import GpuNeed, Steps, VerificationClass

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SHA = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"

WHOLE = f"""\
version: 1
name: digits
image: registry.example/python:3.11
command: [python, /in/train.py, --seed, 7, -v, "2"]
env:
  SEED: 7
  RATE: 1.10
  ANSWER: no
  EMPTY: ""
inputs:
  digits.csv.gz: ./data/digits.csv.gz
  blob: {CID}
  other: {{cid: {CID}}}
  train.py: {{path: ../train.py}}
  web.csv: {{url: https://example.org/web.csv, sha256: sha256:{SHA}, size: 2MiB}}
outputs: [model.npz, figures/]
resources:
  cpu: 0.5
  memory: 2 GiB
  disk: 1048576
  hardware_class: x86_64-v3
  gpu: {{count: 2, vendor: nvidia, model: A100, memory: 40GiB, compute: 8.0}}
timeout: 90s
deadline: 2h
price_cap: 1.5
verification: {{class: exact, audit_rate: 12.5%, deterministic_stdout: true}}
window: 10m
retention: 3d
"""

SMALLEST = "image: python:3.11\nprice_cap: 1\n"

CHECKED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""An address of EIP-55's own examples."""

MISTYPED = CHECKED.replace("5a", "5A")
ONE, TWO, THREE = (f"'0x{digit * 40}'" for digit in "123")


def mistakes(text: str) -> list[tuple[int, str]]:
    with pytest.raises(JobFileErrors) as caught:
        parse(text)
    return [(problem.line, problem.sentence) for problem in caught.value.problems]


def with_field(field: str) -> JobFile:
    return parse(SMALLEST + field + "\n")


def test_a_whole_file_is_read() -> None:
    job = parse(WHOLE)
    assert job.name == "digits"
    assert job.image == "registry.example/python:3.11"
    assert job.argv == ("python", "/in/train.py", "--seed", "7", "-v", "2")
    assert job.env == (("ANSWER", "no"), ("EMPTY", ""), ("RATE", "1.10"), ("SEED", "7"))
    assert job.inputs == (
        ("blob", CidInput(Cid(CID))),
        ("digits.csv.gz", LocalInput(PurePosixPath("data/digits.csv.gz"))),
        ("other", CidInput(Cid(CID))),
        ("train.py", LocalInput(PurePosixPath("../train.py"))),
        ("web.csv", UrlInput("https://example.org/web.csv", Digest(bytes.fromhex(SHA)), 2 * 2**20)),
    )
    assert job.outputs == ("model.npz", "figures")
    assert (job.resources.cpu_millis, job.resources.memory_bytes) == (500, 2 * 2**30)
    assert (job.resources.disk_bytes, job.resources.timeout_s) == (2**20, 90)
    assert job.steps is None
    assert job.resources.gpu == GpuNeed(2, "nvidia", "A100", 40 * 2**30, 80)
    assert job.hardware_class == "x86_64-v3"
    assert job.price_cap_wei == 15 * 10**17
    assert job.verification is VerificationClass.EXACT
    assert job.audit_rate_ppm == 125_000
    assert job.deterministic_stdout
    assert (job.deadline_s, job.window_s, job.retention_s) == (7200, 600, 3 * 86_400)
    assert job.warnings == ()


def test_the_smallest_file_gets_the_defaults() -> None:
    job = parse(SMALLEST)
    assert (job.name, job.argv, job.env, job.inputs, job.outputs) == ("", (), (), (), ())
    assert (job.resources.cpu_millis, job.resources.timeout_s, job.resources.gpu) == (1000, 600, None)
    assert job.verification is VerificationClass.NONE
    assert (job.audit_rate_ppm, job.deadline_s, job.window_s, job.retention_s) == (None, None, None, 86_400)


def test_steps_say_what_one_of_them_may_use() -> None:
    job = with_field("steps: {limit: 20, timeout: 30s, state: 50MiB}")
    assert job.steps == Steps(20, 30, 50 * 2**20)
    assert (job.resources.timeout_s, job.resources.disk_bytes) == (600, 1000 * 2**20)
    assert with_field("steps: {limit: 3}").steps == Steps(3, 60, 64 * 2**20)


def test_json_is_a_job_file_too() -> None:
    job = parse('{\n  "image": "x",\n  "price_cap": "1.5",\n  "command": ["\\ud83d\\ude00"]\n}')
    assert (job.price_cap_wei, job.argv) == (15 * 10**17, ("😀",))


def test_a_command_line_is_split_as_a_shell_would() -> None:
    assert with_field("command: sh -c 'echo \"$HOME\" && ls'").argv == ("sh", "-c", 'echo "$HOME" && ls')
    assert with_field("command: |\n  python train.py\n  --epochs 3").argv == (
        "python",
        "train.py",
        "--epochs",
        "3",
    )


@pytest.mark.parametrize(("cpu", "millis"), [("2", 2000), ('"2"', 2000), ("0.1", 100), ("1e1", 10_000), ("0.123", 123)])
def test_cpus_are_exact(cpu: str, millis: int) -> None:
    assert with_field(f"resources: {{cpu: {cpu}}}").resources.cpu_millis == millis


@pytest.mark.parametrize(
    ("price", "wei"),
    [
        ("0.1", 10**17),
        ('"0.1"', 10**17),
        ("0.000000000000000001", 1),
        ("1e-18", 1),
        ("79228162514.264337593543950335", 2**96 - 1),
    ],
)
def test_prices_are_exact(price: str, wei: int) -> None:
    assert parse(f"image: x\nprice_cap: {price}").price_cap_wei == wei


@pytest.mark.parametrize(
    ("rate", "ppm"),
    [("0.2", 200_000), ("20%", 200_000), ('"0.5 %"', 5000), ("1", 1_000_000), ("0.000001", 1)],
)
def test_audit_rates_are_exact(rate: str, ppm: int) -> None:
    assert with_field(f"verification: {{class: exact, audit_rate: {rate}}}").audit_rate_ppm == ppm


BAD_FIELDS = {
    "version: 2": "this release reads version 1",
    "version: one": "whole number",
    "name: [a]": "must be text",
    "name: 7": "must be text",
    f"name: {'x' * 65}": "64 printable",
    'name: "a\\e[2J"': "printable",
    "command: 3": "must be text",
    "command: {a: b}": "a list of arguments, or one line",
    "command: 'a \"b'": "write it as a list",
    "command: [[a]]": "must be text",
    "command: [~]": "must be text",
    'command: ["\\0"]': "NUL",
    "env: [A]": "a table of names and values",
    "env: {1A: x}": "is no name",
    "env: {A-B: x}": "is no name",
    "env: {A: [x]}": "env.A: must be text",
    "env: {A: }": "env.A: must be text",
    "inputs: [x]": "a table of file names",
    "inputs: {../x: ./y}": "may have letters",
    "inputs: {.x: ./y}": "may have letters",
    "inputs: {x: 3}": "must be text",
    "inputs: {x: https://example.org/}": "write it as {url:",
    "inputs: {x: {}}": "exactly one of path, cid and url",
    "inputs: {x: {path: a, cid: b}}": "exactly one of path, cid and url",
    "inputs: {x: {cid: Qm}}": "is no CID",
    "inputs: {x: {url: https://example.org/}}": "sha256 is missing",
    f"inputs: {{x: {{url: http://example.org/, sha256: {SHA}}}}}": "https",
    f"inputs: {{x: {{url: https://user@example.org/, sha256: {SHA}}}}}": "https",
    "inputs: {x: {url: https://example.org/, sha256: abc}}": "64 hex digits",
    "outputs: model.npz": "must be a list",
    "outputs: [/etc/passwd]": "no path below /out",
    "outputs: [a/../../b]": "no path below /out",
    "resources: 3": "must be a table with cpu",
    "resources: {cpu: lots}": "'lots' is no number",
    "resources: {cpu: 0.0001}": "finer than a thousandth",
    "resources: {cpu: 0}": "out of range",
    "resources: {cpu: -1}": "out of range",
    "resources: {cpu: .inf}": "is no number",
    "resources: {cpu: inf}": "out of range",
    "resources: {cpu: 0.1230000000000000000000000000000001}": "finer than a thousandth",
    "resources: {cpu: 1e999999999}": "out of range",
    "resources: {cpu: true}": "must be a number",
    "resources: {memory: lots}": "is no size",
    "resources: {memory: 1}": "memory is out of range",
    "resources: {memory: 99999999TiB}": "memory is out of range",
    "resources: {disk: -1}": "is no size",
    "resources: {gpu: 1}": "must be a table with count",
    "resources: {gpu: {count: 0}}": "the GPU count is out of range",
    "resources: {gpu: {count: 1.5}}": "whole number",
    "resources: {gpu: {compute: 8.65}}": "one digit after the point",
    "timeout: 10 years": "is no duration",
    "timeout: 100ms": "whole seconds",
    "timeout: 0": "timeout is out of range",
    "timeout: 8d": "timeout is out of range",
    "timeout: -5": "is no duration",
    "steps: 20": "must be a table with limit",
    "steps: {}": "steps.limit is missing",
    "steps: {limit: 0}": "out of range (1 to 65535)",
    "steps: {limit: 65536}": "out of range (1 to 65535)",
    "steps: {limit: 2.5}": "whole number",
    "steps: {limit: 2, timeout: 0}": "timeout is out of range",
    "steps: {limit: 2, state: 1}": "disk is out of range",
    "steps: {limit: 60000, timeout: 1m}": "of all steps together, the timeout is out of range",
    "steps: {limit: 2, memory: 1GiB}": "steps.memory is no field",
    "timeout: 5s\nsteps: {limit: 2}": "state steps.timeout instead",
    "resources: {disk: 1MiB}\nsteps: {limit: 2}": "state steps.state instead",
    "env: {CAPANODE_STEP: 3}": "choose another name",
    "deadline: 5m": "shorter than the timeout",
    "window: 0": "out of range",
    "retention: 100000d": "out of range",
    "verification: {class: replicated, replicas: 2}": "must be odd, from 3 to 7",
    "verification: {class: replicated, replicas: 4}": "must be odd, from 3 to 7",
    "verification: {class: replicated, replicas: 9}": "must be odd, from 3 to 7",
    "verification: {class: replicated, replicas: three}": "whole number",
    "verification: {class: exact, replicas: 3}": "state class: replicated",
    "verification: {replicas: 3}": "state class: replicated",
    "verification: tolerance": "comparators is missing",
    "verification: {class: tolerance}": "comparators is missing",
    "verification: {class: tolerance, comparators: {}}": "a table of 1 to 64 patterns",
    "verification: {class: tolerance, comparators: [x]}": "a table of 1 to 64 patterns",
    "verification: {class: exact, comparators: {x.npy: exact}}": "compares nothing by its values",
    "verification: {comparators: {x.npy: exact}}": "compares nothing by its values",
    "verification: {class: tolerance, comparators: {x.npy: close}}": "must be exact, or a table",
    "verification: {class: tolerance, comparators: {x.npy: {}}}": "needs exactly one of",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, ulp: 1}}}": "needs exactly one of",
    "verification: {class: tolerance, comparators: {x.npy: {atol: -1}}}": "atol is out of range",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, tol: 2}}}": "tol is no field",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, format: pickle}}}": "is no format",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, whole: 3}}}": "whole must be a table",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, whole: {max_bias: 0.1}}}}": "whole needs atol",
    "verification: {class: tolerance, comparators: {x.npy: {ulp: 1.5}}}": "whole number",
    "verification: {class: tolerance, comparators: {x.npy: {top: 0}}}": "out of range",
    "verification: {class: tolerance, comparators: {x.png: {mean: 0.1}}}": "needs both mean and block",
    "verification: {class: tolerance, comparators: {x: {atol: 1}}}": "is no format",
    "verification: {class: tolerance, comparators: {/x.npy: {atol: 1}}}": "no relative path",
    "verification: {class: tolerance, comparators: {x.npy: {atol: 1, max_bad_fraction: 1}}}": "share of bad values",
    "verification: {class: tolerance, comparators: {x.png: {mean: 0.2, block: 0.1}}}": "distance of pictures",
    "verification: {class: tolerance, comparators: {x.png: {atol: 1}}}": "compared by their distance",
    f"verification: {{class: exact, arbiters: {ONE}}}": "must be a list of 1 to 15 addresses",
    "verification: {class: exact, arbiters: []}": "1 to 15 arbiters, not 0",
    "verification: {class: exact, arbiters: [0x12]}": "is no address; write 0x and 40 hex digits",
    f"verification: {{class: exact, arbiters: [{ONE}, [{TWO}]]}}": "must be text",
    f"verification: {{class: exact, arbiters: [{ONE}, {TWO}, {ONE}]}}": "is named twice",
    f"verification: {{class: exact, arbiters: ['0x{'0' * 40}']}}": "address is malformed",
    f"verification: {{class: exact, arbiters: ['{MISTYPED}']}}": "has a wrong checksum",
    f"verification: {{class: exact, arbiters: [{', '.join([ONE] * 16)}]}}": "names 16 arbiters; 15 is the most",
    f"verification: {{class: exact, arbiters: [{ONE}, {TWO}, {THREE}], quorum: 4}}": "2 to 3 have to agree",
    f"verification: {{class: exact, arbiters: [{ONE}, {TWO}], quorum: 1}}": "2 to 2 have to agree",
    f"verification: {{class: exact, arbiters: [{ONE}], quorum: most}}": "whole number",
    "verification: {class: exact, quorum: 2}": "list them as arbiters",
    f"verification: {{class: none, arbiters: [{ONE}]}}": "nobody judges none",
    f"verification: {{class: replicated, arbiters: [{ONE}]}}": "nobody judges replicated",
    "verification: magic": "no verification class",
    "verification: {class: exact, audit_rate: 2}": "from 0 to 1",
    "verification: {class: exact, audit_rate: 120%}": "from 0 to 1",
    "verification: {class: exact, audit_rate: 0.00000001}": "from 0 to 1",
    "verification: {deterministic_stdout: yes}": "true or false",
    "secrets: {A: b}": "secrets are not supported yet",
    "matrix: {a: [1]}": "reserved for a later version",
    "count: 3": "reserved for a later version",
    "retries: 3": "reserved for a later version",
    "tiemout: 3s": "did you mean timeout?",
    "gpu: 1": "the fields here are version",
    "resources: {cpus: 1}": "resources.cpus is no field; did you mean cpu?",
    "resources: {gpu: {memroy: 1}}": "resources.gpu.memroy is no field; did you mean memory?",
    "inputs: {x: {pth: a}}": "inputs.x.pth is no field; did you mean path?",
}


@pytest.mark.parametrize(("field", "sentence"), BAD_FIELDS.items(), ids=BAD_FIELDS.keys())
def test_a_mistake_is_named_with_its_line(field: str, sentence: str) -> None:
    found = mistakes(SMALLEST + "\n" + field)
    assert any(line == 4 and sentence in said for line, said in found), found


def test_arbiters_are_named_in_any_order_and_more_than_half_decide() -> None:
    one, two, three = (Address(bytes([number]) * 20) for number in (0x11, 0x22, 0x33))
    named = with_field(f"verification: {{class: exact, arbiters: [{THREE}, {ONE}, {TWO}]}}").named
    assert named == NamedSet((one, two, three), 2)
    all_of_them = with_field(f"verification: {{class: exact, arbiters: [{THREE}, {ONE}, {TWO}], quorum: 3}}").named
    assert all_of_them == NamedSet((one, two, three), 3)
    bounds = "comparators: {x.npy: {atol: 1}}"
    alone = with_field(f"verification: {{class: tolerance, {bounds}, arbiters: [{TWO}]}}").named
    assert alone == NamedSet((two,), 1)
    assert with_field("verification: exact").named is None


@pytest.mark.parametrize("written", [CHECKED, CHECKED.lower(), "0x" + CHECKED[2:].upper()])
def test_an_address_may_bear_its_checksum(written: str) -> None:
    named = with_field(f"verification: {{class: exact, arbiters: [{written}]}}").named
    assert named is not None
    assert named.arbiters == (bytes.fromhex(CHECKED[2:]),)


def test_ten_thousand_names_are_one_mistake() -> None:
    names = ", ".join(f"0x{number:040x}" for number in range(1, 5001))
    ((_, said),) = mistakes(f"{SMALLEST}verification: {{class: exact, arbiters: [{names}]}}")
    assert "names 5000 arbiters; 15 is the most" in said
    # A file with twice as many is none at all.
    ((_, said),) = mistakes(f"{SMALLEST}verification: {{class: exact, arbiters: [{names}, {names}]}}")
    assert "larger than 256 KiB" in said or "more than 8000 values" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("price_cap: 1", "image is missing"),
        ("image: x", "price_cap is missing"),
        ("image: ''\nprice_cap: 1", "image: is empty"),
        ("image: x\nprice_cap: 0", "has to be more than 0"),
        ("image: x\nprice_cap: -1", "out of range"),
        ("image: x\nprice_cap: free", "is no number"),
        ("image: x\nprice_cap: 1e-19", "finer than one base unit"),
        ("image: x\nprice_cap: 79228162514.264337593543950336", "at most"),
        ("image: x\nprice_cap: 1e40", "out of range"),
    ],
)
def test_what_is_needed_is_asked_for(text: str, sentence: str) -> None:
    assert any(sentence in said for _, said in mistakes(text))


def test_all_mistakes_are_told_at_once_in_order() -> None:
    found = mistakes("imgae: x\ncommand: {}\nresources: {cpu: a, memory: b}\nsecrets: 1\n")
    assert [line for line, _ in found] == [1, 1, 1, 2, 3, 3, 4]


def test_the_error_is_one_text_with_path_and_lines() -> None:
    with pytest.raises(JobFileErrors, match=r"^job.yaml: line 1: .*; line 2: ") as caught:
        parse("image: 3\nprice_cap: x", path="job.yaml")
    assert caught.value.path == "job.yaml"


@pytest.mark.parametrize(
    "name", ["API_KEY", "DB_PASSWORD", "aws_secret_access_key", "GITHUB_TOKEN", "MNEMONIC", "PRIVATE_KEY"]
)
def test_names_that_look_secret_warn(name: str) -> None:
    (warning,) = with_field(f"env: {{{name}: x}}").warnings
    assert warning.line == 3
    assert "env is public" in warning.sentence


@pytest.mark.parametrize("name", ["KEYBOARD", "TOKENIZERS_PARALLELISM", "MONKEY", "AUTHOR", "OMP_NUM_THREADS"])
def test_other_names_do_not_warn(name: str) -> None:
    assert with_field(f"env: {{{name}: x}}").warnings == ()


UNREADABLE = {
    "": "is empty",
    "# nothing\n": "is empty",
    "- a\n- b": "a table of fields",
    "just text": "a table of fields",
    "a: [1": "this is not YAML",
    "a: b: c": "this is not YAML",
    "a: 'x": "this is not YAML",
    "\ta: 1": "this is not YAML",
    "a: &x 1\nb: *x": "anchors (&name)",
    "a: *x": "aliases (*name)",
    "a: !!python/object/apply:os.system [ls]": "tags (",
    "a: !!binary aGk=": "tags (",
    "!!set {a}": "tags (",
    "a: 1\n---\nb: 2": "second document",
    "a: 1\na: 2": "written twice",
    "? [a]\n: b": "cannot be the name of a field",
    "a: \x07": "a character that YAML does not allow",
    'a: "\\ud800"': "surrogate",
    "a: " + "[" * 20 + "]" * 20: "nested deeper than 8",
    "a: " + "[" * 20_000: "nested deeper than 8",
    "a: " + "{a: " * 9: "nested deeper than 8",
    "a: [" + "1," * 30_000 + "]": "more than 8000 values",
    "a: " + "x" * (yaml_tree.MAX_BYTES): "larger than 256 KiB",
}


@pytest.mark.parametrize(("text", "sentence"), UNREADABLE.items(), ids=[k[:24] for k in UNREADABLE])
def test_hostile_or_broken_yaml_is_one_sentence(text: str, sentence: str) -> None:
    ((_, said),) = mistakes(text)
    assert sentence in said


def test_syntax_errors_have_their_line() -> None:
    ((line, _),) = mistakes("image: x\nenv:\n  A: [1\nprice_cap: 2\n")
    assert line in (3, 4)


@given(st.text(max_size=300))
def test_any_text_is_a_job_or_refused(text: str) -> None:
    try:
        parse(text)
    except JobFileErrors as error:
        found = error.problems
    else:
        return
    assert found


FIELD_NAMES = st.sampled_from(["image", "command", "env", "inputs", "resources", "verification", "outputs", "x"])
YAML_VALUES: Any = st.recursive(
    st.sampled_from(["1", "x", "~", "true", "1.5", "''", "10m", "512MiB", "./a", "exact"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | st.dictionaries(st.sampled_from(["cpu", "gpu", "path", "class", "A"]), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key}: {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(FIELD_NAMES, YAML_VALUES, max_size=6))
def test_any_shape_is_a_job_or_refused(fields: dict[str, str]) -> None:
    text = SMALLEST.replace("image: python:3.11\n", "") + "\n".join(f"{k}: {v}" for k, v in fields.items())
    try:
        parse(text)
    except JobFileErrors as error:
        found = error.problems
    else:
        return
    assert all(problem.line >= 1 for problem in found)
