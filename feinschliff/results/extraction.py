"""Takes the answer out of a written text, and says whether two answers are the same. Knows no metric and no file.

An extractor is a function from a text to the answer in it, or None where there is none. Numbers are compared as exact
fractions: ``1,000`` is ``1000``, ``$5.00`` is ``5``, ``3/4`` is ``0.75``; ``1/3`` is not ``0.333``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Extract = Callable[[str], str | None]

_MOST_NUMBER_CHARACTERS = 64
"""Longer runs of digits are no answers that anybody means, and exact arithmetic on them is slow."""
_ENGLISH = r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?"  # 1,234,567.89
_GERMAN = r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}(?!\d)"  # 1.234,56 and 1.234.567; 1.234 is English
_SPACED = r"\d{1,3}(?:[ '’]\d{3})+(?:\.\d+)?"  # 1 234 567.89, 1'234'567.89
_DECIMAL_COMMA = r"\d+,(?:\d{1,2}|\d{4,})(?!\d)"  # 3,14; 1,000 is a thousand
_PLAIN = r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,2})?"
_RATIO = r"\d+ ?[/⁄] ?\d+"
_WHOLE = re.compile(f"(?:{_ENGLISH}|{_GERMAN}|{_SPACED}|{_DECIMAL_COMMA}|{_PLAIN})", re.ASCII)
_WHOLE_RATIO = re.compile(r"(\d+) ?[/⁄] ?(\d+)|\\[dt]?frac\{(\d+)\}\{(\d+)\}", re.ASCII)
_WITHIN = re.compile(
    r"(?<![A-Za-z0-9_/])(?:(?<![\d)])[-+−])?"
    f"(?:(?:{_RATIO})(?![\\d/])|{_GERMAN}|{_ENGLISH}|{_DECIMAL_COMMA}|{_PLAIN})",
    re.ASCII,
)
_MONEY = "$€£¥₹"
_TEX_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\{([^{}]*)\}")
_TEX_SPACES = re.compile(r"\\(?:left|right|displaystyle)(?![a-z])|\\[!,;: ]|\\(?=[$%])|\^\{?\\circ\}?")
_OUTSIDE = " \t\r\n*_`\"'“”„‚‘’«»"
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_SAID_CHOICE = (
    "(?i:answer|option|choice|antwort|lösung|réponse|respuesta|risposta|resposta|antwoord|odpowiedź|ответ|答案|答え)"
    r"(?i:\s+(?:is|are|ist|lautet|est|es|è|é))?\s*[:：是は]?\s*[(\[*_\"'“]*([LETTERS])(?![\w'’])"
)
_FIRST_CHOICE = r"(?:\A|\n)\W*([LETTERS])(?:\W*\Z|[).:]|\*\*|\s*[-–—]\s|(?=\n))"
_LAST_CHOICE = r"[(\[]([LETTERS])[)\]]|\n\W*([LETTERS])\W*\Z|\\boxed\{\W*([LETTERS])\W*\}"


def last_number(text: str) -> str | None:
    """The last number that stands in the text."""
    found = _WITHIN.findall(text)
    return found[-1] if found else None


def after(mark: str) -> Extract:
    """The line that follows the last ``mark``."""

    def extract(text: str) -> str | None:
        _, found, rest = text.rpartition(mark)
        lines = rest.strip().splitlines() if found else []
        return lines[0].strip() if lines else None

    return extract


def boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}``, braces within it included."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    first = text.index("{", start) + 1
    depth = 1
    for place in range(first, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[first:place].strip()
    return None


def by_pattern(pattern: re.Pattern[str]) -> Extract:
    """The first group that took part in the last match."""

    def extract(text: str) -> str | None:
        matches = list(pattern.finditer(text))
        return next((group.strip() for group in matches[-1].groups() if group is not None), None) if matches else None

    return extract


def choice(letters: str = "ABCDE") -> Extract:
    """The letter that was chosen: ``B``, ``(B)``, ``B) because``, ``The answer is B``; of several said so, the last.

    A capital letter within a sentence (``A dog``) is none.
    """
    said, first, last = (
        re.compile(pattern.replace("LETTERS", re.escape(letters)))
        for pattern in (_SAID_CHOICE, _FIRST_CHOICE, _LAST_CHOICE)
    )

    def extract(text: str) -> str | None:
        found = [match[1] for match in said.finditer(text)]
        begins = [match[1] for match in first.finditer(text)]
        # Lines that begin with several letters repeat the choices: none of them is the answer.
        if not found and len(set(begins)) == 1 and first.match(text):
            return begins[0]
        found = found or [next(filter(None, match.groups())) for match in last.finditer(text)]
        return found[-1] if found else None

    return extract


def json_field(path: str) -> Extract:
    """The value at ``path`` (``answer``, ``result.0.name``) of the JSON in a text: the whole, a fence, or an object."""
    keys = path.split(".")

    def extract(text: str) -> str | None:
        value = _json_within(text)
        for key in keys:
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)

    return extract


def read_json(text: str) -> Any:
    """The text as JSON and nothing else: no NaN, no fence.

    Raises:
        ValueError: it is not JSON, or nested too deeply to be read.
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _json_within(text: str) -> Any:
    for candidate in (text, *reversed(_FENCE.findall(text)), text[text.find("{") : text.rfind("}") + 1]):
        try:
            return read_json(candidate)
        except ValueError:
            continue
    return None


def as_number(text: str) -> Fraction | None:
    """The number that a text is, as a whole; None where it is none, or where two readings are likely.

    Understood are signs, money and percent signs around it, thousands in groups of three, a decimal comma where it can
    be nothing else, ``1e5``, and plain fractions. ``1.234`` and ``1,234`` are read as in English.
    """
    # 5² and 1½ would become 52 and 11/2.
    if len(text) > 4 * _MOST_NUMBER_CHARACTERS or any(unicodedata.category(c) == "No" for c in text):
        return None
    bare = _without_tex(unicodedata.normalize("NFKC", text)).strip(_OUTSIDE).rstrip(".,;").replace("−", "-")
    bare = bare.strip(_OUTSIDE + _MONEY + "%")
    negative = bare.startswith("-")
    bare = bare.removeprefix("-" if negative else "+").strip(" " + _MONEY)
    found = _unsigned(bare) if len(bare) <= _MOST_NUMBER_CHARACTERS else None
    return -found if found is not None and negative else found


def _unsigned(bare: str) -> Fraction | None:
    ratio = _WHOLE_RATIO.fullmatch(bare)
    if ratio:
        above, below = (int(group) for group in ratio.groups() if group is not None)
        return Fraction(above, below) if below else None
    if not _WHOLE.fullmatch(bare):
        return None
    bare = re.sub("[ '’]", "", bare)
    if re.fullmatch(f"{_GERMAN}|{_DECIMAL_COMMA}", bare, re.ASCII):
        return Fraction(bare.replace(".", "").replace(",", "."))
    return Fraction(bare.replace(",", ""))


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same: as numbers where both are numbers, else as texts.

    Texts are compared without case, without blanks and quotes around them, without TeX's spaces and a full stop.
    """
    first, second = as_number(one), as_number(other)
    if first is not None and second is not None:
        return first == second
    return _bare(one) == _bare(other)


def _bare(text: str) -> str:
    plain = _without_tex(unicodedata.normalize("NFKC", text)).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    plain = plain.strip(_OUTSIDE + "$").removesuffix(".").strip(_OUTSIDE + "$")
    return " ".join(plain.casefold().split())


def _without_tex(text: str) -> str:
    """Without TeX's spaces, sizes and wrappings of plain text."""
    return _TEX_SPACES.sub("", _TEX_TEXT.sub(r"\1", text))
