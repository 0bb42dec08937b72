"""What to do next, in the imperative: the only output of the state machines besides the new state.

Commands are performed at least once and are idempotent: a crash between the effect and its record repeats them.
A command belongs to the phase that issued it; leaving the phase calls it off.
"""

from dataclasses import dataclass
from typing import ClassVar

from capanode.protocol.ids import CaseId, Digest, UnixTime


@dataclass(frozen=True, slots=True)
class SubmitAnnounce:
    """Announce the demand on chain."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-announce", 1)


@dataclass(frozen=True, slots=True)
class RenewDemand:
    """Make the demand anew: other salt, later expiry."""

    RECORD: ClassVar[tuple[str, int]] = ("renew-demand", 1)


@dataclass(frozen=True, slots=True)
class PostDemand:
    """Spread a demand with a posted price until somebody takes it."""

    RECORD: ClassVar[tuple[str, int]] = ("post-demand", 1)


@dataclass(frozen=True, slots=True)
class CollectBids:
    """Spread the demand, gather bids until the window ends, choose, and sign the award."""

    RECORD: ClassVar[tuple[str, int]] = ("collect-bids", 1)


@dataclass(frozen=True, slots=True)
class SendAward:
    """Hand the award and the spec to the chosen provider."""

    RECORD: ClassVar[tuple[str, int]] = ("send-award", 1)


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Tell the deal when chain time is past `at`."""

    RECORD: ClassVar[tuple[str, int]] = ("wake-at", 1)
    at: UnixTime


@dataclass(frozen=True, slots=True)
class SubmitCancel:
    """Take an announced demand back."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-cancel", 1)


@dataclass(frozen=True, slots=True)
class SubmitExpire:
    """Have a late deal refunded; the requester gets its money, the provider what is left of its bonds."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-expire", 1)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Get the outputs from the provider and check them against the committed root."""

    RECORD: ClassVar[tuple[str, int]] = ("fetch-result", 1)


@dataclass(frozen=True, slots=True)
class ExpectResult:
    """Tell the job when chain time is past `by` and its result is not here: its bytes are missing then."""

    RECORD: ClassVar[tuple[str, int]] = ("expect-result", 1)
    by: UnixTime


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Recompute a result that the coin has drawn, where this node can."""

    RECORD: ClassVar[tuple[str, int]] = ("audit-result", 1)


@dataclass(frozen=True, slots=True)
class SendAccept:
    """Sign the acceptance and hand it to the provider."""

    RECORD: ClassVar[tuple[str, int]] = ("send-accept", 1)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Fetch and verify image and inputs."""

    RECORD: ClassVar[tuple[str, int]] = ("prepare", 1)


@dataclass(frozen=True, slots=True)
class SubmitAssign:
    """Bind the deal on chain."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-assign", 1)


@dataclass(frozen=True, slots=True)
class RunContainer:
    """Execute the spec; `attempt` counts from 1."""

    RECORD: ClassVar[tuple[str, int]] = ("run-container", 1)
    attempt: int


@dataclass(frozen=True, slots=True)
class SubmitCommit:
    """Commit to the result (for a DIRECT deal: assign and commit at once)."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-commit", 1)


@dataclass(frozen=True, slots=True)
class SubmitAbandon:
    """Give an assigned deal up before its deadline."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-abandon", 1)


@dataclass(frozen=True, slots=True)
class SubmitClaim:
    """Finalize: the window is over. The provider's to send, and the requester's where it does not."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-claim", 1)


@dataclass(frozen=True, slots=True)
class SubmitAccept:
    """Take the payment at once with the requester's acceptance."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-accept", 1)


@dataclass(frozen=True, slots=True)
class KeepResult:
    """Keep what a court may want to see, for as long as a dispute can last."""

    RECORD: ClassVar[tuple[str, int]] = ("keep-result", 1)


@dataclass(frozen=True, slots=True)
class DropResult:
    """Delete what was kept for the requester."""

    RECORD: ClassVar[tuple[str, int]] = ("drop-result", 1)


@dataclass(frozen=True, slots=True)
class PlanChallenge:
    """Look whether somebody has opened such a case that can still be joined, and else which number is free."""

    RECORD: ClassVar[tuple[str, int]] = ("plan-challenge", 1)


@dataclass(frozen=True, slots=True)
class SubmitChallenge:
    """Open the case, or join the one that was found, with a bond and a hidden answer."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-challenge", 1)


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    """Show the answer, once the block is there that nobody could foresee."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-answer", 1)


@dataclass(frozen=True, slots=True)
class ChooseNode:
    """Compare the nodes that the provider has shown below a node with the trace that was computed here."""

    RECORD: ClassVar[tuple[str, int]] = ("choose-node", 2)
    case_id: CaseId
    node: Digest
    height: int
    index: int
    tries: int


@dataclass(frozen=True, slots=True)
class SubmitDescent:
    """Ask on below the chosen node."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-descent", 1)


@dataclass(frozen=True, slots=True)
class SubmitNaming:
    """Go on from the chosen leaf with a case about the step that led to it."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-naming", 1)


@dataclass(frozen=True, slots=True)
class JudgeStep:
    """Fetch what a step began from, execute it, and compare with the leaf that was claimed."""

    RECORD: ClassVar[tuple[str, int]] = ("judge-step", 2)
    case_id: CaseId
    round: int
    step: int
    claimed_leaf: Digest


@dataclass(frozen=True, slots=True)
class SubmitVote:
    """Cast the hidden vote."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-vote", 1)


@dataclass(frozen=True, slots=True)
class SubmitReveal:
    """Reveal the vote, once the others can no longer copy it."""

    RECORD: ClassVar[tuple[str, int]] = ("submit-reveal", 1)


RequesterCommand = (
    SubmitAnnounce
    | RenewDemand
    | PostDemand
    | CollectBids
    | SendAward
    | WakeAt
    | SubmitCancel
    | SubmitExpire
    | SubmitClaim
    | FetchResult
    | ExpectResult
    | AuditResult
    | SendAccept
)
ProviderCommand = (
    Prepare
    | SubmitAssign
    | RunContainer
    | SubmitCommit
    | SubmitAbandon
    | SubmitExpire
    | SubmitClaim
    | SubmitAccept
    | WakeAt
    | KeepResult
    | DropResult
)
ChallengerCommand = PlanChallenge | SubmitChallenge | SubmitAnswer | ChooseNode | SubmitDescent | SubmitNaming | WakeAt
ArbiterCommand = JudgeStep | SubmitVote | SubmitReveal | WakeAt
Command = RequesterCommand | ProviderCommand | ChallengerCommand | ArbiterCommand

Question = ChooseNode | JudgeStep
"""Commands that say themselves what is to be found out: the answer counts wherever the same is asked again."""
