"""Write word_sentiment.csv: English words with how good or bad they sound, from a wheel in a Python package index.

The ratings are those of VADER (Hutto and Gilbert 2014, MIT licence), means of ten people's between -4 and 4. Emoticons
and other entries without two letters are left out.

    python examples/regression/word_sentiment.py word_sentiment.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from feinschliff import settings
from feinschliff.store.wheels import fetch_from_wheel

SOURCE = "pypi:vaderSentiment==3.3.2/vaderSentiment/vader_lexicon.txt"


def main(output: Path) -> None:
    """One row a word."""
    lexicon = fetch_from_wheel(SOURCE, settings.read().cache_dir)
    entries = [line.split("\t")[:2] for line in lexicon.read_text(encoding="utf-8").splitlines()]
    words = [(word, rating) for word, rating in entries if sum(map(str.isalpha, word)) >= 2]
    with output.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("word", "sentiment"), *words])
    print(f"{len(words):,} words written to {output}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "word_sentiment.csv"))
