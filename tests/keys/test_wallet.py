"""The wallet opens with its password only, and gives nothing away."""

import json
import pickle
import stat
from pathlib import Path

import coincurve
import pytest
import trio

from capanode.node.keys.signer import LocalSigner, address_of
from capanode.node.keys.wallet import (
    ScryptCost,
    create_wallet,
    find_password,
    import_wallet,
    unlock_wallet,
    wallet_address,
)
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Digest

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ADDRESS = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")


async def test_created_wallet_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "wallet.json"
    created = await create_wallet(path, "correct horse", ScryptCost.DEVNET)

    unlocked = await unlock_wallet(path, "correct horse")

    assert unlocked.address == created.address == wallet_address(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_imported_wallet_has_the_known_address(tmp_path: Path) -> None:
    signer = await import_wallet(tmp_path / "wallet.json", KEY, "", ScryptCost.DEVNET)
    assert signer.address == ADDRESS


async def test_default_cost_is_the_standard_one(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await create_wallet(path, "password")
    assert json.loads(await trio.Path(path).read_text())["crypto"]["kdfparams"]["n"] == 262_144


async def test_wrong_password_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_wallet(path, KEY, "right", ScryptCost.DEVNET)

    with pytest.raises(Misconfigured, match="password does not open"):
        await unlock_wallet(path, "wrong")


async def test_wallet_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_wallet(path, KEY, "password", ScryptCost.DEVNET)
    with pytest.raises(Misconfigured, match="never overwritten"):
        await create_wallet(path, "password", ScryptCost.DEVNET)
    assert (await unlock_wallet(path, "password")).address == ADDRESS
    assert [entry.name for entry in tmp_path.iterdir()] == ["wallet.json"]


async def test_wallet_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_wallet(path, KEY, "password", ScryptCost.DEVNET)
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        await unlock_wallet(path, "password")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"not json",
        b"[" * 10_000,
        b'{"version":3,"crypto":{"kdf":"scrypt"}}',
        b'{"version":1,"crypto":{}}',
        b'{"version":3,"crypto":{"kdf":"scrypt","kdfparams":{"n":1073741824,"r":8,"p":1,"dklen":32}}}',
        b"\xff\xfe",
        b"0" * 100_000,
    ],
)
async def test_damaged_keystores_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wallet.json"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(Misconfigured):
        await unlock_wallet(path, "password")


async def test_missing_wallet_is_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        await unlock_wallet(tmp_path / "none.json", "password")


def test_signature_recovers_with_low_s() -> None:
    signer = LocalSigner(KEY)
    for number in range(50):
        digest = Digest(number.to_bytes(32, "big"))
        signature = signer.sign_digest(digest)
        assert len(signature) == 65
        assert signature[64] in (27, 28)
        assert int.from_bytes(signature[32:64], "big") <= (2**256 - 0x14551231950B75FC4402DA1732FC9BEBF) // 2
        recoverable = signature[:64] + bytes([signature[64] - 27])
        key = coincurve.PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
        assert address_of(key.format(compressed=False)) == ADDRESS


def test_signer_gives_its_key_to_nobody() -> None:
    signer = LocalSigner(KEY)
    assert KEY.hex() not in repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    with pytest.raises(Misconfigured) as refused:
        LocalSigner(b"\xff" * 32)
    assert "ff" * 8 not in str(refused.value)


def test_password_comes_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("correct horse\n")
    monkeypatch.setenv("CAPANODE_PASSWORD_FILE", str(path))
    assert find_password(None, prompt=lambda: "typed") == "correct horse"

    monkeypatch.delenv("CAPANODE_PASSWORD_FILE")
    assert find_password(path, prompt=None) == "correct horse"
    assert find_password(None, prompt=lambda: "typed") == "typed"
    with pytest.raises(Misconfigured, match="CAPANODE_PASSWORD_FILE"):
        find_password(None, prompt=None)


async def test_unlocking_leaves_the_loop_free(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    await import_wallet(path, KEY, "password", ScryptCost.DEVNET)
    turns = 0

    async def count(scope: trio.CancelScope) -> None:
        nonlocal turns
        with scope:
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(count, scope)
        await unlock_wallet(path, "password")
        scope.cancel()
    assert turns > 1
