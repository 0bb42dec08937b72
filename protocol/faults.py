"""The four kinds of error, by what the process does about them.

Each carries a sentence for a person. Code that needs to decide on details adds a subclass with
typed fields beside the code that raises it; it never parses the text.
"""


class Fault(Exception):
    """Any error of ours; `str()` is one sentence that says what is wrong and what to do."""


class PeerFault(Fault):
    """The other side sent something that the protocol forbids: score it, drop it, go on."""


class Unavailable(Fault):
    """Something outside does not answer now: back off and retry."""


class Misconfigured(Fault):
    """The operator has to change something: stop at start with this sentence."""


class Refused(Fault):
    """A user's request is well-formed but may not be carried out; nothing has changed."""


class InvariantViolated(Fault):
    """Our own bug: the process stops before it can do harm."""
