"""A node's libp2p identity and the statement that binds it to a wallet."""

import stat
from pathlib import Path

import coincurve
import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.keys.peer_key import PeerKey, open_peer_key, peer_id_of, public_key_of, uncompressed
from capanode.node.keys.signer import address_of
from capanode.protocol.faults import Misconfigured, PeerFault
from capanode.protocol.ids import Address

SECRET = bytes(31) + b"\x01"
OWNER = Address(b"\x11" * 20)
REGISTRY = Address(b"\x22" * 20)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libp2p's own imports
def test_peer_id_is_libp2ps() -> None:
    from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
    from libp2p.peer.id import ID

    theirs = ID.from_pubkey(Secp256k1PrivateKey.new(SECRET).get_public_key())

    key = PeerKey(SECRET)

    assert key.peer_id == theirs.to_base58()
    assert key.peer_id.startswith("16Uiu2")
    assert public_key_of(key.peer_id) == key.public_key


@given(st.binary(min_size=32, max_size=32).filter(lambda key: 0 < int.from_bytes(key, "big") < 2**255))
def test_peer_id_and_public_key_are_each_others_inverse(secret: bytes) -> None:
    key = coincurve.PrivateKey(secret).public_key.format()
    assert public_key_of(peer_id_of(key)) == key


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_other_text_is_no_peer_id(text: str) -> None:
    with pytest.raises(PeerFault):
        public_key_of(text)


def test_binding_is_what_the_registry_recovers() -> None:
    key = PeerKey(SECRET)
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "PeerBinding": [{"name": "owner", "type": "address"}],
        },
        "primaryType": "PeerBinding",
        "domain": {
            "name": "capanode",
            "version": "1",
            "chainId": 31337,
            "verifyingContract": "0x" + REGISTRY.hex(),
        },
        "message": {"owner": "0x" + OWNER.hex()},
    }
    signed = Account.sign_typed_data(SECRET, full_message=message)

    signature = key.bind_to(OWNER, 31337, REGISTRY)

    assert signature == bytes(signed.signature)
    assert address_of(uncompressed(key.public_key)).hex() == Account.from_key(SECRET).address[2:].lower()


def test_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "peer.key"
    first = open_peer_key(path)
    second = open_peer_key(path)
    assert first.peer_id == second.peer_id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.secret_for_libp2p().hex() not in repr(first)


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31, b"00" * 32, b"ff" * 32, b"0" * 200, b"\xff"])
def test_damaged_key_file_is_misconfigured(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peer.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(Misconfigured):
        open_peer_key(path)


def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    path.write_text("11" * 32)
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        open_peer_key(path)
