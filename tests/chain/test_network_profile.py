"""A profile is read whole, told wrong whole, and written so that it reads back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.network_profile import NetworkProfile, parse_profile, profile_text, read_profile
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
printable = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=16)
profiles = st.builds(
    NetworkProfile,
    name=names,
    chain_id=st.integers(1, 2**53),
    rpc_urls=st.lists(names.map(lambda name: f"https://{name}.example/key?x=%22"), min_size=1, max_size=3).map(tuple),
    directory=st.binary(min_size=20, max_size=20).filter(any).map(Address),
    first_block=st.integers(0, 2**40),
    ws_urls=st.lists(names.map(lambda name: f"wss://{name}"), max_size=2).map(tuple),
    bootstrap=st.just(("/ip4/192.0.2.1/tcp/4001/p2p/16Uiu2abc",)) | st.just(()),
    relays=st.just(()),
    confirmations=st.integers(0, 1000),
    is_devnet=st.booleans(),
    bid_window_ms=st.integers(1, 1000),
    token_symbol=printable,
    token_decimals=st.integers(0, 36),
    approved_code=st.just(("0x" + "ab" * 32,)) | st.just(()),
)


@given(profiles)
def test_written_profile_reads_back(profile: NetworkProfile) -> None:
    assert parse_profile(profile_text(profile).encode(), "test") == profile


def test_all_errors_are_told_at_once() -> None:
    text = """
    name = "a b"
    chain_id = true
    rpc_urls = []
    directory = "0x12"
    colour = "blue"
    ws_urls = ["http://example"]
    """
    with pytest.raises(Misconfigured) as refused:
        parse_profile(text.encode(), "net.toml")
    for word in ("net.toml", "name:", "chain_id:", "rpc_urls:", "directory:", "colour: unknown", "ws_urls:"):
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("directory", "sentence"),
    [
        ("0x" + "00" * 20, "the zero address is no contract"),
        ("0x" + "12" * 19, "is no address; write 0x and 40 hex digits"),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", ""),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", "wrong checksum"),
    ],
)
def test_a_mistyped_directory_is_told(directory: str, sentence: str) -> None:
    text = f'name = "a"\nchain_id = 1\nrpc_urls = ["https://a.example"]\ndirectory = "{directory}"\n'
    if not sentence:
        assert parse_profile(text.encode(), "net.toml").directory.hex() == directory[2:].lower()
        return
    with pytest.raises(Misconfigured, match=f"directory: .*{sentence}"):
        parse_profile(text.encode(), "net.toml")


@pytest.mark.parametrize("content", [b"", b"\xff", b"a = ", b"name = 'x'\n" * 2, b"[[a]]\n" * 10, b"a=" + b"[" * 5000])
def test_damaged_profiles_are_misconfigured(content: bytes) -> None:
    with pytest.raises(Misconfigured):
        parse_profile(content, "net.toml")


def test_missing_and_oversized_files_are_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_profile(tmp_path / "none.toml")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * 100_000)
    with pytest.raises(Misconfigured, match="too large"):
        read_profile(large)
