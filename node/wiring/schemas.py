"""Every table of the node's file."""

from typing import Final

from capanode.node import drain, journal
from capanode.node.announced import replicas
from capanode.node.assigned import provider_peers
from capanode.node.chain import approvals, blocks, case_log, transactions
from capanode.node.challenged import audits, kept_evidence, named_sets, own_traces
from capanode.node.executed import checkpoints
from capanode.node.paid import migration

SCHEMAS: Final = (
    journal.SCHEMA,
    drain.SCHEMA,
    transactions.TRANSACTIONS_SCHEMA,
    blocks.FOLLOWER_SCHEMA,
    provider_peers.SCHEMA,
    approvals.SCHEMA,
    migration.SCHEMA,
    checkpoints.SCHEMA,
    kept_evidence.SCHEMA,
    audits.SCHEMA,
    case_log.SCHEMA,
    own_traces.SCHEMA,
    named_sets.SCHEMA,
    replicas.SCHEMA,
)
"""Every table of the node's file."""
