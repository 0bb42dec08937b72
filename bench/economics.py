"""Whether dishonesty pays: all known strategies over 100,000 deals each, by dice and by formulas.

The dice move money by the protocol's own functions (`capanode.protocol.verdict_money`) at its own shares; the formulas
are those of docs/economics.md. A strategy counts as profitable when it beats honesty in any deal by its formula, or on
average by what was played.
"""

import sys

from bench import report
from bench.economy.play import STRATEGIES, honest_losers, play
from bench.economy.residue import targeted_poison_tokens, wrong_share_that_wakes
from bench.economy.world import DEFAULT

KINDS = 5_000
REPEATS = 20
SEED = 20


def main() -> None:
    """Play, write the report; the exit code is 1 if something dishonest pays or something honest costs."""
    results = tuple(play(DEFAULT, STRATEGIES, KINDS, REPEATS, SEED))
    figures: dict[str, report.Figure] = {
        "deals": KINDS * REPEATS,
        "strategies": len(results),
        "profitable_dishonest_strategies": sum(result.is_profitable for result in results),
        "honest_parts_that_lose": len(honest_losers(DEFAULT, KINDS, SEED)),
        "not_prevented_targeted_poison_tokens": targeted_poison_tokens(DEFAULT, KINDS, SEED),
        "not_prevented_audit_needs_wrong_share": wrong_share_that_wakes(DEFAULT, KINDS, SEED),
        "seed": SEED,
    }
    for result in results:
        name = result.strategy.name
        figures[f"{name}_tokens"] = result.played
        figures[f"{name}_ci95_tokens"] = result.ci95
        figures[f"{name}_expected_tokens"] = result.expected
        figures[f"{name}_honest_tokens"] = result.honest
        figures[f"{name}_best_gain_of_price"] = result.best_gain
    report.write("economics", figures)
    if figures["profitable_dishonest_strategies"] or figures["honest_parts_that_lose"]:
        sys.exit("Dishonesty pays, or honesty costs: see docs/economics.md for the condition that broke.")


if __name__ == "__main__":
    main()
