"""Which rows hold personal data: how many, of which kinds, and some of them, redacted. Knows no file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from feinschliff.data.examples import Example
from feinschliff.data.personal_data import KINDS, redact, said, texts_of
from feinschliff.results.data import Finding, RowRef

_MOST_SHOWN = 10
_SHOWN_AROUND = 50


@dataclass(slots=True)
class PersonalData:
    """Looks at rows, chunk by chunk, and keeps the first that hold any.

    A conversation is looked at as a whole: every message, and what it says beside its content.
    """

    num_rows: int = 0
    """Rows that hold some."""
    counts: Counter[str] = field(default_factory=Counter)
    """By kind."""
    shown: list[RowRef] = field(default_factory=list)

    def look(self, examples: Iterable[Example]) -> None:
        """Take in the next rows."""
        for example in examples:
            in_row: Counter[str] = Counter()
            context = ""
            for text in texts_of(example):
                clean, more = redact(text)
                in_row += more
                if more and not context:
                    context = _around(clean)
            if in_row:
                self.num_rows += 1
                self.counts += in_row
                if len(self.shown) < _MOST_SHOWN:
                    place, note = example.place, said(in_row)
                    self.shown.append(RowRef(file=place.file, line=place.line, text=context, note=note))

    def findings(self) -> list[Finding]:
        """What is to be said of them all."""
        if not self.num_rows:
            return []
        message = f"{self.num_rows:,} rows hold what looks like personal data: {said(self.counts)}"
        remedy = (
            "a model can repeat it word for word; `feinschliff data clean --redact`, or --redact of tune and train, "
            "puts [EMAIL], [PHONE] ... in its place"
        )
        return [
            Finding(
                kind="personal_data",
                severity="warning",
                count=self.num_rows,
                message=message,
                remedy=remedy,
                examples=self.shown,
            )
        ]


def personal_data_findings(examples: Iterable[Example]) -> list[Finding]:
    """How many rows hold personal data, of which kinds, and some of them, redacted. Reads the rows once, keeps none."""
    found = PersonalData()
    found.look(examples)
    return found.findings()


def _around(redacted: str) -> str:
    """The words around the first find."""
    place = min((at for kind in KINDS if (at := redacted.find(f"[{kind}]")) >= 0), default=0)
    start, end = max(0, place - _SHOWN_AROUND), place + _SHOWN_AROUND + 12
    return ("…" if start else "") + redacted[start:end].strip() + ("…" if end < len(redacted) else "")
