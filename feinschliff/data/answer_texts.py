"""What is wrong or worth knowing in the answers that a model is to learn to write. Knows no file format and no model.

Rows are read once and none is kept: each watcher counts, and remembers the first rows it has to show. Found are
refusals, empty answers and such as look cut, loops, the same answer to many prompts, very long and very short ones, and
the languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappush, heappushpop
from itertools import islice
from typing import Protocol

import numpy as np

from feinschliff.data.answer_endings import cut_surely, ends_in_prose, is_marked
from feinschliff.data.answer_loops import loops_of
from feinschliff.data.conversations import ASSISTANT, TOOL_CALLS, USER
from feinschliff.data.examples import Example, Place
from feinschliff.data.findings import MAX_SHOWN
from feinschliff.data.languages import language_of
from feinschliff.data.refusals import refusal_in
from feinschliff.results.data import Finding, RowRef, Severity

_CHUNK_ROWS = 4096
_SHOWN_CHARACTERS = 120
FEWEST_PROSE_ANSWERS = 20
"""Fewer answers than that have no custom of how they end."""
MOST_UNMARKED_FRACTION = 0.1
"""Where more answers end without a mark, it is their style."""
LIMIT_CHARACTERS, FEWEST_AT_LIMIT, AT_LIMIT_FRACTION = 200, 5, 0.005
"""So many unfinished answers, all as long as the longest and at least that long, were cut by whoever wrote them."""
FEWEST_SAME_WORDS = 5
FEWEST_SAME_PROMPTS = 3
FAR = 3.0
"""Interquartile ranges of the logarithm of lengths, at least factors of two, from which an answer counts as far off."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of a row, with what it answers."""

    place: Place
    prompt: str
    """The last thing the user said before it."""
    answer: str
    calls_tools: bool = False
    """It calls a tool, so it may say nothing."""

    def shown(self, note: str, end: bool = False) -> RowRef:
        """The row, with how the answer begins or ends."""
        text = self.answer[-_SHOWN_CHARACTERS:] if end else self.answer[:_SHOWN_CHARACTERS]
        cut = len(self.answer) > _SHOWN_CHARACTERS
        text = f"…{text}" if end and cut else f"{text}…" if cut else text
        return RowRef(file=self.place.file, line=self.place.line, text=text, note=note)


def answer_findings(examples: Iterable[Example]) -> list[Finding]:
    """All that is to be said of the answers in training rows, gravest first; nothing for rows without answers.

    Every message of the assistant that is trained on is an answer; of other rows it is the first reference.
    """
    watchers: tuple[Watcher, ...] = (Empty(), Refusals(), Cut(), Loops(), Same(), Lengths(), Languages())
    answers = (answered for example in examples for answered in answers_of(example))
    num_answers = 0
    while chunk := list(islice(answers, _CHUNK_ROWS)):
        num_answers += len(chunk)
        for watcher in watchers:
            watcher.look(chunk)
    found = [finding for watcher in watchers for finding in watcher.findings(num_answers)] if num_answers else []
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def answers_of(example: Example) -> Iterator[Answered]:
    """The answers of a row that are trained on."""
    if example.conversation is None:
        if example.references:
            yield Answered(example.place, "\n".join(example.texts), example.references[0])
        return
    prompt = ""
    for message in example.conversation.messages:
        if message.role == USER:
            prompt = message.content
        elif message.role == ASSISTANT and message.weight != 0:
            yield Answered(example.place, prompt, message.content, bool(message.extra.get(TOOL_CALLS)))


class Watcher(Protocol):
    """Looks for one thing, chunk by chunk."""

    def look(self, answers: list[Answered]) -> None:
        """Take in the next answers."""
        ...

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """What is to be said of them all."""
        ...


@dataclass(slots=True)
class _Counted:
    """How many, and the first of them."""

    count: int = 0
    shown: list[RowRef] = field(default_factory=list)

    def add(self, answered: Answered, note: str, end: bool = False) -> None:
        self.count += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append(answered.shown(note, end))

    def finding(self, kind: str, severity: Severity, message: str, remedy: str = "") -> Iterator[Finding]:
        if self.count:
            yield Finding(
                kind=kind,
                severity=severity,
                count=self.count,
                message=f"{self.count:,} {message}",
                remedy=remedy,
                examples=self.shown,
            )


@dataclass(slots=True)
class Empty:
    """Answers that say nothing and call no tool."""

    found: _Counted = field(default_factory=_Counted)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for answered in answers:
            if not answered.answer.strip() and not answered.calls_tools:
                self.found.add(answered, f"to: {answered.prompt[:_SHOWN_CHARACTERS]}")

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        return self.found.finding("empty_answer", "warning", "answers say nothing", "leave these rows out")


@dataclass(slots=True)
class Refusals:
    """Answers that refuse, or speak of themselves as a language model."""

    found: _Counted = field(default_factory=_Counted)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for answered in answers:
            words = refusal_in(answered.answer)
            if words is not None:
                self.found.add(answered, f"says: {words}")

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        message = f"of {num_answers:,} answers refuse, or speak of themselves as a language model"
        remedy = "a model learns to refuse from few of them; leave out those that you do not want"
        return self.found.finding("refusal", "warning", message, remedy)


@dataclass(slots=True)
class Cut:
    """Answers that look cut: an open code fence, a dangling word, no mark at the end where nearly all have one, or
    where many are as long as the longest."""

    surely: _Counted = field(default_factory=_Counted)
    unmarked: _Counted = field(default_factory=_Counted)
    num_prose: int = 0
    greatest: int = LIMIT_CHARACTERS
    """Of the lengths of all answers."""
    at_greatest: _Counted = field(default_factory=_Counted)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for answered in answers:
            text = answered.answer.rstrip()
            why = cut_surely(text)
            if why is not None:
                self.surely.add(answered, why, end=True)
            elif ends_in_prose(text):
                self.num_prose += 1
                if not is_marked(text):
                    self.unmarked.add(answered, "ends without a mark", end=True)
            if len(answered.answer) > self.greatest:
                self.greatest, self.at_greatest = len(answered.answer), _Counted()
            if len(answered.answer) == self.greatest and not is_marked(text):
                self.at_greatest.add(answered, "ends without a mark", end=True)

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        few = self.unmarked.count <= MOST_UNMARKED_FRACTION * self.num_prose
        both = self.surely
        if self.num_prose >= FEWEST_PROSE_ANSWERS and few:
            shown = [*self.surely.shown, *self.unmarked.shown][:MAX_SHOWN]
            both = _Counted(self.surely.count + self.unmarked.count, shown)
        remedy = "a model learns to stop there; leave them out, or complete them"
        yield from both.finding("cut_answer", "warning", "answers look cut at their end", remedy)
        if self.at_greatest.count >= max(FEWEST_AT_LIMIT, AT_LIMIT_FRACTION * num_answers):
            message = f"answers have {self.greatest:,} characters, none has more, and they end without a mark"
            remedy = f"whoever wrote them cut at that length; {remedy}"
            yield from self.at_greatest.finding("cut_length", "warning", message, remedy)


@dataclass(slots=True)
class Loops:
    """Answers that repeat the same words again and again."""

    found: _Counted = field(default_factory=_Counted)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for row, unit in loops_of([answered.answer for answered in answers]).items():
            self.found.add(answers[row], f"repeats: {unit[:_SHOWN_CHARACTERS]}", end=True)

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        return self.found.finding(
            "repetition", "warning", "answers repeat the same words over and over", "leave them out"
        )


@dataclass(slots=True)
class _Repeated:
    """An answer that was met again."""

    example: RowRef
    prompts: set[bytes]
    rows: int


@dataclass(slots=True)
class Same:
    """The same answer, blanks and case aside, to several prompts. Keeps a hash of each answer and of its prompt."""

    first: dict[bytes, bytes] = field(default_factory=dict)
    repeated: dict[bytes, _Repeated] = field(default_factory=dict)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for answered in answers:
            text = answered.answer.casefold().split()
            if len("".join(text)) < 4 * FEWEST_SAME_WORDS:
                continue
            key, prompt = _hash(" ".join(text)), _hash(" ".join(answered.prompt.casefold().split()))
            if key not in self.first:
                self.first[key] = prompt
                continue
            known = self.repeated.setdefault(key, _Repeated(answered.shown(""), {self.first[key]}, 1))
            known.prompts.add(prompt)
            known.rows += 1

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        often = [one for one in self.repeated.values() if len(one.prompts) >= FEWEST_SAME_PROMPTS]
        rows = sum(one.rows for one in often)
        if not often:
            return
        shown = [
            one.example.model_copy(update={"note": f"answers {len(one.prompts):,} different prompts"})
            for one in sorted(often, key=lambda one: -one.rows)[:MAX_SHOWN]
        ]
        yield Finding(
            kind="same_answer",
            severity="warning" if rows >= 0.01 * num_answers else "info",
            count=rows,
            message=f"{rows:,} answers are one of {len(often):,} that stand at several different prompts",
            remedy="a model learns them by heart and says them everywhere; keep a few of each",
            examples=shown,
        )


@dataclass(slots=True)
class Lengths:
    """Answers far longer or shorter than the others."""

    characters: list[int] = field(default_factory=list)
    longest: list[tuple[int, int, Answered]] = field(default_factory=list)
    shortest: list[tuple[int, int, Answered]] = field(default_factory=list)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for answered in answers:
            length = len(answered.answer)
            if not answered.answer.strip():
                continue
            self.characters.append(length)
            for heap, key in ((self.longest, length), (self.shortest, -length)):
                entry = (key, -len(self.characters), answered)
                if len(heap) < MAX_SHOWN:
                    heappush(heap, entry)
                else:
                    heappushpop(heap, entry)

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        if len(self.characters) < FEWEST_PROSE_ANSWERS:
            return
        lengths = np.array(self.characters)
        low, middle, high = np.quantile(np.log2(lengths), [0.25, 0.5, 0.75])
        reach = FAR * max(high - low, 1.0)
        below, above = 2.0 ** (low - reach), 2.0 ** (high + reach)
        usual = f"half of all have {2**low:,.0f} to {2**high:,.0f} characters, the middle one {2**middle:,.0f}"
        for heap, count, word in (
            (self.longest, int((lengths > above).sum()), "longer"),
            (self.shortest, int((lengths < below).sum()), "shorter"),
        ):
            shown = [one.shown(f"{len(one.answer):,} characters") for *_, one in sorted(heap, reverse=True)[:count]]
            message = f"answers are far {word} than the others ({usual})"
            yield from _Counted(count, shown).finding("answer_length", "info", message, "look at some of them")


@dataclass(slots=True)
class Languages:
    """Which languages the answers are in, and which answers are in another than their prompt."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[RowRef]] = field(default_factory=dict)
    mixed: _Counted = field(default_factory=_Counted)

    def look(self, answers: list[Answered]) -> None:
        """See ``Watcher``."""
        for answered in answers:
            language = language_of(answered.answer)
            if language is None:
                continue
            self.counts[language] += 1
            kept = self.shown.setdefault(language, [])
            if len(kept) < MAX_SHOWN:
                kept.append(answered.shown(language))
            asked = language_of(answered.prompt)
            if asked not in (None, language):
                self.mixed.add(answered, f"asked in {asked}, answered in {language}: {answered.prompt[:60]}")

    def findings(self, num_answers: int) -> Iterator[Finding]:
        """See ``Watcher``."""
        known = self.counts.total()
        if len(self.counts) > 1:
            main = self.counts.most_common(1)[0][0]
            shares = ", ".join(f"{code} {count / known:.1%}" for code, count in self.counts.most_common(8))
            others = [row for code, _ in self.counts.most_common()[1:] for row in self.shown[code]]
            message = f"answers are in another language than most ({shares}; {num_answers - known:,} not told)"
            yield from _Counted(known - self.counts[main], others[:MAX_SHOWN]).finding("language", "info", message)
        message = "answers are in another language than what they answer"
        yield from self.mixed.finding("answer_language", "info", message, "translations are; others may be mistakes")


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
