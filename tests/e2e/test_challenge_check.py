"""`challenge check` on a devnet: who knows nothing but a deal's id recomputes it on a real engine."""

from capanode.node.api.client import NodeClient
from capanode.node.api.port import Json
from capanode.node.devnet_parties import Party
from tests.e2e.town import Town

COMMAND = "echo $((6 * 7)) > /out/answer"


def checked(by: Party, deal: str | None) -> Json:
    assert deal is not None
    *_, last = NodeClient(by.folder.socket).check(deal, None, None)
    found: Json = last["check"]
    return found


def test_an_honest_deal_holds_for_everybody(town: Town) -> None:
    view = town.buy(town.order(COMMAND))
    stranger = next(party for party in town.providers if party != town.provider_of(view))
    for party in (town.requester, stranger):
        found = checked(party, view.deal_id)
        assert (found["verdict"], found["provider"], found["divergent_step"]) == ("holds", view.provider, None)
        assert [one["verdict"] for one in found["checked"]] == ["holds"]
        assert found["checked"][0]["computed_leaf"] == found["checked"][0]["committed_leaf"]
