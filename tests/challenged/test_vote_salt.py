"""What hides an arbiter's vote is the same whenever it is asked for, and another for each round and each arbiter."""

from capanode.node.challenged.judging import vote_salt
from capanode.node.keys.signer import LocalSigner
from capanode.protocol.ids import CaseId

CASE = CaseId(b"\x01" * 32)


def test_vote_is_hidden_alike_after_a_reorganisation_and_otherwise_elsewhere() -> None:
    signer, other = LocalSigner(b"\x01" * 32), LocalSigner(b"\x02" * 32)
    salt = vote_salt(signer, CASE, 0)
    assert vote_salt(signer, CASE, 0) == salt
    others = {vote_salt(signer, CASE, 1), vote_salt(signer, CaseId(b"\x02" * 32), 0), vote_salt(other, CASE, 0)}
    assert len(others | {salt}) == 4
