from typing import Any

import pytest

from capanode.protocol import encoding, typed_data
from capanode.protocol.ids import ZERO_ADDRESS, Digest
from capanode.protocol.judging import steps_word
from capanode.protocol.records import Bid, Demand, Mode, Terms
from tests.vectors import golden

VECTORS = golden.load("typed_data")
RECORDS = golden.load("records")
KEYS = VECTORS["keys"]
MARKET = typed_data.domain(VECTORS["domain"]["chain_id"], VECTORS["domain"]["market"])


def terms_of(vector: dict[str, Any]) -> Terms:
    return Terms(
        requester=vector["requester"],
        provider=vector["provider"],
        demand_digest=vector["demandDigest"],
        price_wei=vector["price"],
        verification_wei=vector["verification"],
        fraud_bond_wei=vector["fraudBond"],
        assign_by=vector["assignBy"],
        commit_by=vector["commitBy"],
        window_s=vector["window"],
        mode=Mode(vector["mode"]),
        salt=Digest(vector["salt"].to_bytes(32, "big")),
    )


def test_domain_binds_contract_and_chain() -> None:
    vector = VECTORS["domain"]
    assert vector["market_separator"] == MARKET.separator
    assert vector["registry_separator"] == typed_data.domain(vector["chain_id"], vector["registry"]).separator
    other = typed_data.domain(vector["other_chain_id"], vector["market"])
    assert vector["other_chain_separator"] == other.separator


@pytest.mark.parametrize("name", ["award_direct", "award_lock", "award_largest", "award_announced"])
def test_award_matches_the_reference(name: str) -> None:
    assert typed_data.award_digest(MARKET, terms_of(VECTORS[name])) == VECTORS[name]["digest"]


@pytest.mark.parametrize("name", ["announcement_award", "announcement_first"])
def test_announcement_matches_the_reference(name: str) -> None:
    terms = terms_of(VECTORS[name])
    assert terms.provider == ZERO_ADDRESS
    assert typed_data.announcement_deal_id(MARKET, terms) == VECTORS[name]["deal_id"]


def test_award_of_an_announced_deal_names_it_by_its_salt() -> None:
    assert terms_of(VECTORS["award_announced"]).salt == VECTORS["announcement_award"]["deal_id"]


def test_announcement_names_no_provider() -> None:
    with pytest.raises(ValueError, match="provider"):
        typed_data.announcement_deal_id(MARKET, terms_of(VECTORS["award_lock"]))


def test_accept_and_mutual_cancel_match_the_reference() -> None:
    accept, cancel = VECTORS["accept"], VECTORS["cancel_mutual"]
    assert typed_data.accept_digest(MARKET, accept["dealId"]) == accept["digest"]
    assert cancel["digest"] == typed_data.cancel_mutual_digest(
        MARKET, cancel["dealId"], cancel["amount"], cancel["validUntil"]
    )


def test_hints_match_the_reference() -> None:
    demand = encoding.decode(Demand, RECORDS["demand"]["bytes"])
    bid = encoding.decode(Bid, RECORDS["bid"]["bytes"])
    assert typed_data.demand_hint_digest(MARKET, demand) == VECTORS["demand"]["digest"]
    assert typed_data.bid_digest(MARKET, bid) == VECTORS["bid"]["digest"]


def test_receipt_and_peer_binding_match_the_reference() -> None:
    receipt, binding = VECTORS["receipt"], VECTORS["peer_binding"]
    registry = typed_data.domain(VECTORS["domain"]["chain_id"], VECTORS["domain"]["registry"])
    assert receipt["digest"] == typed_data.receipt_digest(MARKET, receipt["provider"], receipt["recordDigest"])
    assert typed_data.peer_binding_digest(registry, binding["owner"]) == binding["digest"]


def test_demand_digest_matches_the_reference() -> None:
    vector = VECTORS["demand_digest"]
    for prefix in ("", "later_"):
        assert vector[f"{prefix}digest"] == typed_data.demand_digest(
            vector["spec"],
            vector["input_root"],
            steps_word(None, vector[f"{prefix}first_step"], vector[f"{prefix}step_limit"]),
        )


def test_each_field_of_the_terms_changes_the_award() -> None:
    lock = terms_of(VECTORS["award_lock"])
    others = [terms_of({**VECTORS["award_lock"], **change}) for change in _changes(VECTORS["award_lock"])]
    digests = {typed_data.award_digest(MARKET, terms) for terms in (lock, *others)}
    assert len(digests) == 12


def _changes(vector: dict[str, Any]) -> list[dict[str, Any]]:
    names = [
        "requester",
        "provider",
        "demandDigest",
        "price",
        "verification",
        "fraudBond",
        "assignBy",
        "commitBy",
        "window",
        "mode",
        "salt",
    ]
    return [{name: _other(vector[name])} for name in names]


def _other(value: Any) -> Any:
    return value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
