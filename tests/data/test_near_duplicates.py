"""Near duplicates: what is planted is found, what is merely similar is not; streamed or at once, the same."""

from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.near_duplicates import Fingerprints, find_near_duplicates, words
from feinschliff.data.sources import open_rows

SIMILARITY = DataConfig().near_duplicate_similarity


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of 5 to 40 words from a vocabulary whose frequencies fall as in real text."""
    draw = random.Random(seed)
    vocabulary = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(3000)]
    weights = [1 / (rank + 5) for rank in range(len(vocabulary))]
    return [" ".join(draw.choices(vocabulary, weights, k=draw.randint(5, 40))) + "." for _ in range(count)]


def vary(text: str, draw: random.Random, vocabulary: list[str]) -> str:
    """Changed case, punctuation, and one word in ten replaced: each alone, or all together."""
    kind = draw.choice(["case", "punctuation", "words", "all"])
    parts = text.split()
    if kind in ("words", "all"):
        for place in draw.sample(range(len(parts)), max(1, len(parts) // 10)):
            parts[place] = draw.choice(vocabulary)
    text = " ".join(parts)
    if kind in ("punctuation", "all"):
        bare = text.translate(str.maketrans("", "", string.punctuation))
        text = draw.choice([bare, f"{text}!!", text.replace(" ", ", ", 1), f"({text})"])
    if kind in ("case", "all"):
        text = draw.choice([text.upper(), text.title(), text.swapcase()])
    return text


def recall_and_precision(texts: list[str], num_planted: int, seed: int) -> tuple[float, float]:
    draw = random.Random(seed)
    vocabulary = [word for text in texts for word in text.split()]
    sources = draw.sample(range(len(texts)), num_planted)
    planted = [vary(texts[row], draw, vocabulary) for row in sources]
    found = find_near_duplicates(texts + planted, SIMILARITY)
    natural = find_near_duplicates(texts, SIMILARITY)
    pairs = {frozenset(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    equal = np.flatnonzero(found.representative != np.arange(len(found.representative))).tolist()
    pairs |= {frozenset((row, int(found.representative[row]))) for row in equal}
    known = {frozenset(pair) for pair in zip(natural.first.tolist(), natural.second.tolist(), strict=True)}
    clusters = found.clusters()
    hits = sum(clusters[len(texts) + number] == clusters[row] for number, row in enumerate(sources))
    right = {frozenset((row, len(texts) + number)) for number, row in enumerate(sources)}
    return hits / num_planted, len(pairs & right) / len(pairs - known)


def test_planted_are_found() -> None:
    recall, precision = recall_and_precision(sentences(3000, 1), 500, 2)
    assert recall >= 0.95
    assert precision >= 0.95


@pytest.mark.parametrize(("name", "column"), [("sst2/train.tsv", "column_1"), ("banking77/train.csv", "text")])
def test_planted_among_real_sentences(shared_data: Path, name: str, column: str) -> None:
    rows = open_rows([str(shared_data / name)], DataConfig())
    texts = list(dict.fromkeys(str(row.cells[column]) for row in rows))
    random.Random(0).shuffle(texts)
    recall, precision = recall_and_precision(texts[:3000], 600, 3)
    assert recall >= 0.95
    assert precision >= 0.95


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("How do I find the PIN of my card?", "how do i find the pin of my card", True),
        ("I don't know why it was declined.", "I dont know why it was declined!", True),
        ("How old do you have to be to open an account?", "What age do you have to be to open an account?", True),
        ("my card has not arrived", "has my card arrived", False),
        ("cancel it", "block it", False),
        ("Where can I see my balance today?", "The movie was a long and boring one.", False),
        ("私のカードはまだ届いていません", "私のカードはもう届いていません", True),
        ("私のカードはまだ届いていません", "口座を開設する方法を教えて", False),
        (":)", ":(", False),
    ],
)
def test_pairs(one: str, other: str, same: bool) -> None:
    clusters = find_near_duplicates([one, "something else stands between them", other], SIMILARITY).clusters()
    assert (clusters[0] == clusters[2]) == same


def test_a_pattern_is_no_duplicate() -> None:
    verbs = ["cancel", "block", "find", "order", "change", "activate"]
    found = find_near_duplicates([f"how do I {verb} my card" for verb in verbs], SIMILARITY)
    assert len(set(found.clusters().tolist())) == len(verbs)


def test_inserted_and_deleted_words() -> None:
    texts = sentences(300, 5)
    shorter = [" ".join(text.split()[:3] + text.split()[4:]) for text in texts if len(text.split()) > 10]
    long = [row for row, text in enumerate(texts) if len(text.split()) > 10]
    clusters = find_near_duplicates(texts + shorter, SIMILARITY).clusters()
    assert np.mean([clusters[row] == clusters[300 + number] for number, row in enumerate(long)]) > 0.95


def test_long_texts() -> None:
    texts = [" ".join(sentences(10, seed)) for seed in range(40)]
    draw = random.Random(0)
    changed = []
    for text in texts:
        parts = text.split()
        for place in draw.sample(range(len(parts)), len(parts) // 10):
            parts[place] = "other"
        changed.append(" ".join(parts))
    clusters = find_near_duplicates(texts + changed, SIMILARITY).clusters()
    assert [clusters[row] == clusters[40 + row] for row in range(40)].count(True) >= 38
    assert len(set(clusters.tolist())) >= 40


def test_chunks_make_no_difference() -> None:
    texts = sentences(400, 6) + [text.upper() for text in sentences(400, 6)[:100]]
    streamed = Fingerprints(SIMILARITY)
    for start in range(0, len(texts), 37):
        streamed.add(texts[start : start + 37])
    assert streamed.duplicates().clusters().tolist() == find_near_duplicates(texts, SIMILARITY).clusters().tolist()


def test_nothing_and_many_equal_rows() -> None:
    assert len(find_near_duplicates([], SIMILARITY).clusters()) == 0
    assert set(find_near_duplicates(["the very same sentence again"] * 5000, SIMILARITY).clusters().tolist()) == {0}


def test_words() -> None:
    assert words("Don't STOP—it's ﬁne!") == ["dont", "stopits", "fine"]
    assert words("東京 tower") == ["東", "京", "tower"]
