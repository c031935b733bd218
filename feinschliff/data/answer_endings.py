"""How a text ends: whole, cut for sure, or without the mark that sentences end with. Knows texts only."""

from __future__ import annotations

import re

_NO_ENDS = ",;:-–—/([{、，；："
_MARKUP = " \t\r\n*_~`"
_NOT_PROSE_LINE = re.compile(r"\s*(?:[-*•–|#>+]|\d+[.)]\s|\w+:\s*\S+$|https?://|\[|\\|\$)")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_ARTICLES_AND_SUCH = (
    "the a an and or of with der die das und oder ein eine einen dem den mit von le la les et ou de des du un une el "
    "los las y una con il lo gli che della het en van"
)
_DANGLING = frozenset(_ARTICLES_AND_SUCH.split())
_FEWEST_WORDS, _FEWEST_CHARACTERS = 8, 12
"""A last line with fewer words (characters, where no blanks stand between words) is a heading, a name or a number."""


def cut_surely(text: str) -> str | None:
    """Why an answer is surely cut; None where it is not."""
    if len(_FENCE.findall(text)) % 2:
        return "a code block is not closed"
    line = text.splitlines()[-1] if text else ""
    if _NOT_PROSE_LINE.match(line) or len(line.split()) < _FEWEST_WORDS:
        return None
    last = line.split()[-1]
    if last.casefold() in _DANGLING or last.endswith((",", "(", "[")) or (last.endswith("-") and last[:-1].isalpha()):
        return f"ends with {last!r}"
    return None


def ends_in_prose(text: str) -> bool:
    """Whether the last line is a sentence or several, rather than a list, a heading, a formula or a few words."""
    line = text.splitlines()[-1] if text else ""
    return not _NOT_PROSE_LINE.match(line) and (
        len(line.split()) >= _FEWEST_WORDS or sum("\u3040" <= c <= "\u9fff" for c in line) >= _FEWEST_CHARACTERS
    )


def is_marked(text: str) -> bool:
    """Whether a text ends as sentences do, or with a bracket, a quote, an emoji or a ``#hashtag``."""
    bare = text.rstrip(_MARKUP)
    last = bare.split()[-1:] or [""]
    return last[0].startswith("#") or not bare or not (bare[-1].isalnum() or bare[-1] in _NO_ENDS)
