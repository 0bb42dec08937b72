"""Count the words of every text in /in and write them to /out/words.csv, the most frequent first."""

import csv
import re
from collections import Counter
from pathlib import Path

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def count(texts: list[str]) -> list[tuple[str, int]]:
    """Words in lower case with their number; equal numbers in the order of the alphabet."""
    found = Counter(word.lower() for text in texts for word in WORD.findall(text))
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def main(inputs: Path = Path("/in"), outputs: Path = Path("/out")) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(inputs.glob("*.txt"))]
    words = count(texts)
    with (outputs / "words.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["word", "count"])
        writer.writerows(words)
    print(f"{sum(number for _, number in words)} words, {len(words)} different")


if __name__ == "__main__":
    main()
