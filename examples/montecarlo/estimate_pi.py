"""Estimate pi by throwing darts at a square, and say how sure the estimate is.

Usage: estimate_pi.py DARTS. Writes /out/estimate.json. The seed comes from the environment, so the same job gives
the same bytes everywhere.
"""

import json
import math
import os
import random
import sys
from pathlib import Path


def estimate(darts: int, seed: int) -> dict[str, float | int]:
    rng = random.Random(seed)
    inside = sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(darts))
    share = inside / darts
    return {
        "pi": 4 * share,
        "standard_error": 4 * math.sqrt(share * (1 - share) / darts),
        "darts": darts,
        "seed": seed,
    }


def main(outputs: Path = Path("/out")) -> None:
    found = estimate(int(sys.argv[1]), int(os.environ.get("SEED", "1")))
    (outputs / "estimate.json").write_text(json.dumps(found, indent=2) + "\n", encoding="ascii")
    print(f"pi is {found['pi']:.5f}, give or take {found['standard_error']:.5f}")


if __name__ == "__main__":
    main()
