"""Checks of written answers as a person asks for them: ``NAME=KIND`` or ``NAME=KIND:ARGUMENT``; 0 to 1 a row.

Some kinds take the answer out of a text and out of its reference and compare the two, some look at the text alone,
``python`` asks a function of the person's own. Knows no configuration class, no data format and no statistics.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from feinschliff.errors import ConfigError, DataError, Fault
from feinschliff.results import check_files, extraction
from feinschliff.results.check_files import Score, Written
from feinschliff.results.extraction import Extract, same_answer
from feinschliff.results.formats import is_known

WHERE = "evaluation.checks"
DEFAULT_NAME = "extracted_match"
MARKED = (f"{DEFAULT_NAME}=after:####", f"{DEFAULT_NAME}=boxed")
"""How references of public sets mark the answer: GSM8K, and those made like MATH."""
FITTING_FRACTION = 0.9
_ASKED = re.compile(r"\s*([A-Za-z_][\w-]*)=([^:]*)(?::(.*))?", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MOST_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Check:
    """A check that can be made."""

    name: str
    """Of its metric."""
    asked: str
    """As it was configured."""
    score: Score
    """A row to 0 (wrong) to 1 (right)."""
    extract: Extract | None = None
    """What takes the answer out of a text, where the kind compares answers; such a row needs a reference."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What ``KIND`` of ``NAME=KIND:ARGUMENT`` can be."""

    argument: Literal["none", "optional", "needed"]
    extract: Callable[[str], Extract] | None = None
    """From the argument; raises ValueError where it does not hold. None: the kind compares nothing."""
    score: Callable[[str], Score] | None = None
    """The same of a kind that looks at the row itself."""
    file: Callable[[str, Path], Score] | None = None
    """The same where the argument names a file; paths are relative to the folder."""


def _extracting_pattern(argument: str) -> Extract:
    pattern = _compiled(argument)
    if not pattern.groups:
        raise ValueError("the expression has no group: put what is the answer in (...)")
    return extraction.by_pattern(pattern)


def _letters(argument: str) -> Extract:
    if argument and not re.fullmatch("[A-Z]{2,26}", argument):
        raise ValueError(f"{argument!r} is not a row of capital letters such as ABCD")
    return extraction.choice(argument) if argument else extraction.choice()


def _matching(argument: str) -> Score:
    pattern = _compiled(argument)
    return lambda row: float(pattern.search(row.answer) is not None)


def _compiled(argument: str) -> re.Pattern[str]:
    try:
        return re.compile(argument)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the expression does not compile: {error}") from None


KINDS: dict[str, Kind] = {
    "after": Kind("needed", extract=extraction.after),
    "boxed": Kind("none", extract=lambda _: extraction.boxed),
    "last_number": Kind("none", extract=lambda _: extraction.last_number),
    "choice": Kind("optional", extract=_letters),
    "extract": Kind("needed", extract=_extracting_pattern),
    "json_field": Kind("needed", extract=extraction.json_field),
    "regex": Kind("needed", score=_matching),
    "json": Kind("none", score=lambda _: check_files.is_json),
    "json_schema": Kind("needed", file=check_files.schema_score),
    "python": Kind("needed", file=check_files.python_score),
}
"""``after`` to ``json_field`` compare what they take out; ``regex``: it is found in the answer; ``json``: the answer is
JSON and nothing else; ``json_schema:FILE``: and follows the schema; ``python:FILE.py:FUNCTION``."""


def whole_checks(pieces: Sequence[str]) -> tuple[str, ...]:
    """Checks as they were before a command line was cut at commas: what names none goes on with the one before."""
    whole: list[str] = []
    for piece in pieces:
        begins = _ASKED.match(piece) or piece.partition(":")[0].strip() in KINDS
        if begins or not whole:
            whole.append(piece)
        else:
            whole[-1] += f",{piece}"
    return tuple(whole)


def syntax_faults(asked: Sequence[str]) -> list[Fault]:
    """All that is wrong with checks before a file of theirs is opened."""
    return _made(asked, None)[1]


def load_checks(asked: Sequence[str], folder: Path = Path()) -> tuple[Check, ...]:
    """The checks, ready; a Python file is run here, where it was not yet or was changed since.

    Raises:
        ConfigError: every fault of all of them: unknown kinds, expressions that do not compile, files and functions
            that are not there.
    """
    checks, faults = _made(asked, folder)
    if faults:
        raise ConfigError(faults)
    return tuple(checks)


def check_scores(check: Check, rows: Sequence[Written]) -> list[float]:
    """One number a row, 0 to 1.

    Raises:
        DataError: rows without a reference where the check compares with it.
        ConfigError: a person's function failed, or gave no number from 0 to 1; with the rows.
    """
    if check.extract is not None:
        bare = [row.where for row in rows if not row.references]
        if bare:
            raise DataError(
                f"check {check.name} compares with a reference, and {len(bare):,} rows have none",
                where=bare[0],
                remedy="give rows with answers, or leave the check out",
            )
    scores: list[float] = []
    faults: list[Fault] = []
    for row in rows:
        try:
            scores.append(check.score(row))
        except ConfigError as error:
            faults += [Fault(f"check {check.name}: {f.what}", row.where, f.why, f.remedy) for f in error.faults]
        if len(faults) == _MOST_FAULTS:
            break
    if faults:
        raise ConfigError(faults)
    return scores


def num_without_answer(check: Check, rows: Sequence[Written]) -> int:
    """Rows whose text holds no answer that the check could take out: wrong, but not for what they say."""
    return 0 if check.extract is None else sum(check.extract(row.answer) is None for row in rows)


def default_checks(references: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], str]:
    """The check that at least :data:`FITTING_FRACTION` of the rows' references fit, or none; and what to say of it."""
    for asked in MARKED:
        extract = load_checks([asked])[0].extract
        fitting = sum(any(extract(gold) is not None for gold in golds) for golds in references) if extract else 0
        if references and fitting >= FITTING_FRACTION * len(references):
            share = f"{fitting:,} of {len(references):,}" if fitting < len(references) else "all"
            return (asked,), f"{share} references mark their answer: it is compared by the check {asked}"
    return (), (
        "references mark no answer (#### or \\boxed{}): none is taken out of the texts; to have one compared, "
        "give --evaluation.checks, such as number=last_number"
    )


def _made(asked: Sequence[str], folder: Path | None) -> tuple[list[Check], list[Fault]]:
    """``folder`` None: kinds that name a file are not made, and of them only the form is looked at."""
    checks: list[Check] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    for text in asked:
        match = _ASKED.fullmatch(text)
        if match is None:
            faults.append(_fault(text, "it is not of the form NAME=KIND or NAME=KIND:ARGUMENT", _kinds()))
            continue
        name, kind, argument = match[1], match[2], match[3]
        why = _name_fault(name, seen)
        seen.add(name)
        if why:
            faults.append(_fault(text, why, "give it a name of its own: small letters, digits and underscores"))
        made = _make(text, name, (kind, argument or ""), folder)
        if isinstance(made, Check):
            checks.append(made)
        else:
            faults += made
    return checks, faults


def _make(text: str, name: str, said: tuple[str, str], folder: Path | None) -> Check | list[Fault]:
    word, argument = said
    kind = KINDS.get(word)
    if kind is None:
        near = difflib.get_close_matches(word, KINDS, n=1, cutoff=0.5)
        return [_fault(text, f"there is no kind {word!r}", f"did you mean {near[0]}?" if near else _kinds())]
    if kind.argument == "needed" and not argument:
        return [_fault(text, f"{word} needs an argument", f"write {name}={word}:ARGUMENT")]
    if kind.argument == "none" and argument:
        return [_fault(text, f"{word} takes no argument, and {argument!r} is given", f"write {name}={word}")]
    try:
        if kind.extract is not None:
            extract = kind.extract(argument)
            return Check(name, text, _comparing(extract), extract)
        if kind.file is not None:
            return Check(name, text, kind.file(argument, folder) if folder is not None else _unread)
        return Check(name, text, kind.score(argument) if kind.score is not None else _unread)
    except ValueError as error:
        return [_fault(text, str(error), None)]
    except ConfigError as error:
        return [_fault(text, ": ".join(filter(None, (f.what, f.why))), f.remedy) for f in error.faults]


def _comparing(extract: Extract) -> Score:
    """Right where the answer taken out equals that of any reference; one that marks none is the answer as a whole."""

    def score(row: Written) -> float:
        given = extract(row.answer)
        if given is None:
            return 0.0
        wanted = ((gold, extract(gold)) for gold in row.references)
        return float(any(same_answer(gold if taken is None else taken, given) for gold, taken in wanted))

    return score


def _unread(row: Written) -> float:
    raise RuntimeError("a check whose file was not read cannot be made")


def _name_fault(name: str, seen: set[str]) -> str | None:
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name for a metric"
    if name in seen:
        return f"the name {name} is given twice"
    return f"{name} is the name of a metric already" if is_known(name) and name != DEFAULT_NAME else None


def _fault(text: str, why: str, remedy: str | None) -> Fault:
    return Fault(f"check {text!r} cannot be made", WHERE, why, remedy)


def _kinds() -> str:
    return f"kinds: {', '.join(KINDS)}; such as number=last_number, or valid=regex:^[0-9]+$"
