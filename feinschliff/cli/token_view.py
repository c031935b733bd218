"""How rows of tokens look: in colour on a terminal, with marks around what is learned elsewhere. Knows results only.

Nothing in a text reaches the terminal that could move the cursor or turn the direction of writing: it is shown by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate, groupby
from operator import itemgetter

from rich.console import Console
from rich.text import Text

from feinschliff.results.tokens import PlainRow, Refusal, ShowResult, TokenRow, TokenTotals

OPEN, CLOSE, CUT = "⟦", "⟧", "✂"
NEWLINE = "↵\n"
_READ, _READ_MARK, _LEARNED, _LEARNED_MARK = "dim", "cyan", "bold green", "bold black on green"
_FAINT, _FULL = (70, 110, 80), (60, 230, 90)
"""Shades of weights near 0 and near 1."""
_HIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Controls, marks of direction and what has no width; blanks and the joiners of scripts and emoji stay."""


def print_result(out: Console, result: ShowResult) -> None:
    """Rows, then totals, then what a run would say or refuse."""
    in_colour = out.is_terminal and out.color_system is not None and not out.no_color
    for note in result.columns.announcements:
        _line(out, note, "dim")
    if result.shown:
        legend = Text.assemble(("learned", _LEARNED), " · ", ("read only", _READ)) if in_colour else Text(
            f"{OPEN}learned{CLOSE}, all else is read only; {OPEN}0.5:learned with this weight{CLOSE}"
        )  # fmt: skip
        out.print(legend)
    for row in result.shown:
        _print_row(out, row, set(result.special_ids), in_colour)
    for plain in result.read:
        _print_plain(out, plain)
    _print_totals(out, result)
    for refusal in result.refusals:
        _print_refusal(out, refusal)
    if result.totals is not None:
        verdict = "a run on these rows would be refused" if result.refusals else "nothing speaks against a run"
        _line(out, f"{verdict} (its first loss is looked at when it starts)", "bold red" if result.refusals else "")


def _print_row(out: Console, row: TokenRow, special: set[int], in_colour: bool) -> None:
    which = "" if row.message is None else f", message {row.message}"
    count = f"{row.num_tokens:,} tokens, {row.num_with_loss:,} learned" if row.ids else "no tokens"
    _heading(out, f"{row.file}:{row.line}{which}", count)
    for note in row.notes:
        _line(out, f"! {note}", "yellow")
    text = Text()
    pieces = _coloured(row, special) if in_colour else ((piece, "") for piece in _marked(row))
    for style, alike in groupby(pieces, key=itemgetter(1)):
        text.append("".join(piece for piece, _ in alike), style)
    if row.ids:
        out.print(text, soft_wrap=True, end="" if text.plain.endswith("\n") else "\n")


def _coloured(row: TokenRow, special: set[int]) -> Iterator[tuple[str, str]]:
    for weight, mark, numbers in _runs(row):
        if mark:
            yield mark, "bold red"
        if weight not in (0.0, 1.0):
            yield f"{weight:g}:", "italic magenta"
        for number in numbers:
            is_special = row.ids[number] in special
            style = _shade(weight) if 0.0 < weight < 1.0 else _LEARNED if weight else _READ
            style = (_LEARNED_MARK if weight else _READ_MARK) if is_special else style
            yield visible(row.tokens[number]), style


def _marked(row: TokenRow) -> Iterator[str]:
    for weight, mark, numbers in _runs(row):
        text = "".join(visible(row.tokens[number]) for number in numbers)
        said = "" if weight in (0.0, 1.0) else f"{weight:g}:"
        yield mark + (f"{OPEN}{said}{text}{CLOSE}" if weight else text)


def _runs(row: TokenRow) -> Iterator[tuple[float, str, list[int]]]:
    """Tokens that follow each other with one weight, and what stands before them: a cut, or tokens not shown."""
    marks = dict.fromkeys(row.borders, f"{CUT}\n")
    if row.gap is not None:
        marks[row.gap] = f"\n... {row.num_tokens - len(row.ids):,} tokens more ...\n"
    parts = accumulate(number in marks for number in range(len(row.ids)))
    keys = zip(row.weights, parts, strict=True)
    for (weight, _), numbered in groupby(enumerate(keys), key=itemgetter(1)):
        numbers = [number for number, _ in numbered]
        yield weight, marks.get(numbers[0], ""), numbers


def _shade(weight: float) -> str:
    red, green, blue = (round(faint + weight * (full - faint)) for faint, full in zip(_FAINT, _FULL, strict=True))
    return f"rgb({red},{green},{blue})"


def visible(text: str) -> str:
    """Line ends and hidden characters as something to be seen."""
    return _HIDDEN.sub(_named, text).replace("\n", NEWLINE)


def _named(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {9: "⇥", 13: "␍", 127: "␡"}.get(code, chr(0x2400 + code) if code < 32 else f"<U+{code:04X}>")


def _print_plain(out: Console, row: PlainRow) -> None:
    _heading(out, f"{row.file}:{row.line}", "")
    if row.note:
        _line(out, f"! {row.note}", "yellow")
    for name, value in row.values.items():
        out.print(Text.assemble((f"{visible(name)}: ", "bold"), visible(value)), soft_wrap=True)


def _heading(out: Console, place: str, said: str) -> None:
    out.print()
    line = Text.assemble(("── ", "dim"), (place, "bold"), (f"  {said}" if said else "", ""), (" ──", "dim"))
    out.print(line, soft_wrap=True)


def _line(out: Console, said: str, style: str = "") -> None:
    out.print(Text(visible(said).rstrip(), style), soft_wrap=True)


def _print_totals(out: Console, result: ShowResult) -> None:
    _heading(out, "all rows", f"{result.rows_read:,} in {', '.join(result.files)}")
    for reason, count in result.left_out.items():
        _line(out, f"{count:,} left out: {reason}")
    if result.totals is not None:
        for name, said in _totals(result, result.totals):
            out.print(Text.assemble((f"{name:14}", "bold"), visible(said)), soft_wrap=True)
    for note in result.notes:
        _line(out, f"note: {note}")


def _totals(result: ShowResult, totals: TokenTotals) -> Iterator[tuple[str, str]]:
    share = totals.tokens_with_loss / max(1, totals.tokens)
    weighed = "" if totals.loss_weight == totals.tokens_with_loss else f", with a weight of {totals.loss_weight:,g}"
    yield "rows", f"{totals.rows:,}, learned as {totals.training_rows:,} rows of tokens"
    yield "tokens", f"{totals.tokens:,}; {totals.tokens_with_loss:,} carry loss ({share:.1%}{weighed})"
    fates = ", ".join(f"{count:,} {fate}" for fate, count in totals.long_rows.items()) or "no row is longer"
    yield "longest", f"{totals.longest_tokens:,} tokens; the limit is {totals.limit_tokens:,}: {fates}"
    yield "model", f"{result.model} (its tokenizer)"
    if result.template is not None:
        yield "chat template", result.template.said
    yield "loss on", ", ".join(result.loss_on)
    yield "ends with", ", ".join(totals.end_tokens) or "no end token was found"
    yield "without loss", f"{sum(one.rows for one in totals.without_loss):,} rows"
    for silent in totals.without_loss:
        more = ", ..." if silent.rows > len(silent.places) else ""
        yield "", f"{silent.rows:,}: {silent.reason} ({', '.join(silent.places)}{more})"


def _print_refusal(out: Console, refusal: Refusal) -> None:
    where = f"{refusal.where}: " if refusal.where else ""
    out.print(Text.assemble(("refused: ", "bold red"), (where, "bold"), visible(refusal.what)), soft_wrap=True)
    for word, said in (("why", refusal.why), ("do", refusal.remedy)):
        if said:
            _line(out, f"  {word + ':':5}{said}")
