"""The config: read whole, every mistake at once with its place, and what is left out has the defaults."""

from pathlib import Path

import pytest

from capanode.node.config import NodeConfig, Role
from capanode.node.config_file import ConfigRejected, load_config
from capanode.node.data_folder import DataFolder

TOKEN = 10**18


def config(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **overrides: object) -> NodeConfig:
    (tmp_path / "config.toml").write_text(text, "utf-8")
    return load_config(DataFolder(tmp_path), environ=environ or {}, overrides=overrides)


def mistakes(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigRejected) as caught:
        config(tmp_path, text, environ)
    return str(caught.value)


def test_folder_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    found = load_config(DataFolder(tmp_path), environ={})
    assert found.roles == {Role.REQUESTER}
    assert found.data_dir == tmp_path
    assert found.profile_path == tmp_path / "networks" / "default.toml"


def test_amounts_are_read_exactly(tmp_path: Path) -> None:
    text = "[provider]\nmax_fraud_bond_tokens = 0.1\n[provider.pricing]\nfloor_tokens = '0.000000000000000001'"
    found = config(tmp_path, text)
    assert found.provider.max_fraud_bond_wei == TOKEN // 10
    assert found.provider.pricing.floor_wei == 1


def test_sizes_times_and_addresses_are_read(tmp_path: Path) -> None:
    wallet = "0x" + "ab" * 20
    text = f'[provider]\nmemory = "1.5GiB"\n[timeouts]\nimage = "250ms"\n[requester]\navoid = ["{wallet}"]'
    found = config(tmp_path, text)
    assert found.provider.memory == 3 * 2**29
    assert found.timeouts.image == 0.25
    assert found.requester.avoid == {b"\xab" * 20}


def test_environment_wins_over_the_file_and_the_caller_over_both(tmp_path: Path) -> None:
    text = "[provider]\nslots = 1\n[p2p]\nport = 1"
    environ = {"CAPANODE_PROVIDER__SLOTS": "4", "CAPANODE_ROLES": "provider,requester", "CAPANODE_P2P__PORT": "2"}
    found = config(tmp_path, text, environ, p2p={"port": 3})
    assert (found.provider.slots, found.p2p.port, len(found.roles)) == (4, 3, 2)


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = (
        '\nroles = ["provider", "cook"]\nnetwrk = "x"\n\n[provider]\nslots = "many"\ncpu = -1\n\n[p2p]\nport = 99999\n'
    )
    told = mistakes(tmp_path, text)
    for expected in ("line 2: roles", "line 3: there is no setting netwrk", "line 6: provider.slots"):
        assert expected in told
    for expected in ("line 7: provider.cpu", "line 10: p2p.port"):
        assert expected in told


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("netwrk = 'x'", "did you mean network?"),
        ("[provder]\nslots = 1", "did you mean provider?"),
        ("[provider]\nslotz = 1", "did you mean provider.slots?"),
        ("slots = 1", "did you mean provider.slots?"),
        ("[provider.pricing]\nfloor_wei = 3", "did you mean provider.pricing.floor_tokens?"),
    ],
)
def test_unknown_setting_gets_a_suggestion(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in mistakes(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[provider.pricing]\nfloor_tokens = 'abc'", "'abc' is no amount; write tokens as 1.5"),
        ("[provider.pricing]\nfloor_tokens = -1", "out of range"),
        ("[provider.pricing]\nfloor_tokens = 0.0000000000000000001", "finer than one base unit"),
        ("[provider]\nmemory = 'lots'", "'lots' is no size"),
        ("[timeouts]\nimage = '5 parsecs'", "'5 parsecs' is no duration"),
        ("[requester]\navoid = ['0x12']", "'0x12' is no address"),
        ("[provider]\naccept = 'requester deny 0x12'", "line 1: '0x12' is no address; write 0x and 40 hex digits"),
        ('[provider]\naccept = "image allow x\\nfrobnicate"', "line 2: there is no rule 'frobnicate'"),
        ("[provider\nslots = 1", "is no TOML"),
        ("provider = 3", "provider"),
    ],
)
def test_wrong_value_is_named_with_what_to_write(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in mistakes(tmp_path, text)


def test_mistake_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    environ = {"CAPANODE_PROVIDER__SLOTS": "x", "CAPANODE_PROVIDER__SLOT": "1"}
    told = mistakes(tmp_path, "", environ)
    assert "the environment variable CAPANODE_PROVIDER__SLOTS: provider.slots" in told
    assert "CAPANODE_PROVIDER__SLOT sets nothing; did you mean provider.slots?" in told


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    others = {"CAPANODE_ANVIL": "/usr/bin/anvil", "CAPANODE_DATA": "/x", "PATH": "/bin"}
    assert config(tmp_path, "", others) == config(tmp_path)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigRejected, match="not UTF-8"):
        load_config(DataFolder(tmp_path), environ={})


def test_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ConfigRejected, match="larger than 1 MiB"):
        load_config(DataFolder(tmp_path), environ={})
