"""Personal data in texts: found by pattern and, where there is one, by checksum; counted, or replaced. Knows no model.

Few false alarms matter more than finding everything: a number without separators is no telephone number, an address of
a private network is nobody's, ``example.com`` has no owner. Names and postal addresses are not looked for. What is not
found is not proven absent.

Kinds: :data:`KINDS`. Formats: ISO 13616 (IBAN, checksum), ISO/IEC 7812 (cards, Luhn), E.164 and the North American
plan (telephone), ISO 7064 MOD 11,10 (German tax number), RFC 2606 and RFC 6890 (domains and addresses of nobody).
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from feinschliff.data.examples import Example

KINDS = {
    "EMAIL": ("e-mail address", "e-mail addresses"),
    "IBAN": ("IBAN", "IBANs"),
    "CREDIT_CARD": ("card number", "card numbers"),
    "TAX_ID": ("German tax number", "German tax numbers"),
    "SSN": ("US social security number", "US social security numbers"),
    "IP_ADDRESS": ("IP address", "IP addresses"),
    "PHONE": ("telephone number", "telephone numbers"),
}
"""Kind, as it stands in the text in brackets, to what people call it. Earlier kinds win where two overlap."""

_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w%+-][\w.%+-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[A-Za-z]{2,24}(?![\w(\[-]|@|\.\w)"
)
_NOBODYS_DOMAIN = re.compile(
    r"(?:^|\.)example\.(?:com|org|net)$|\.(?:example|test|invalid|local|localhost|internal)$", re.I
)
_FILE_ENDINGS = frozenset(
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts", "json", "html", "py", "java", "md", "txt"]
)
_NOBODY = frozenset({"git", "hg", "svn"})
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?= ?[A-Z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""Characters of an IBAN by country, of the registry that SWIFT keeps for ISO 13616."""
_CARD = re.compile(
    r"(?<![\w.,#+-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d)"
)
_TAX_ID = re.compile(r"(?<![\w.,+/-])[1-9]\d( ?)\d{3}\1\d{3}\1\d{3}(?![\w/-]|[.,]\d)")
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-]|\.\d)")
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{3,35}(?![\w:])")
_VERSION_BEFORE = re.compile(r"(?:version|release|build|section|chapter|abschnitt|kapitel|\bv)\.?\s*$", re.I)
_INTERNATIONAL = re.compile(r"(?<![\w+./-])(?:\+|(?<!\d )00(?=[1-9]))\(?\d(?:[ ()./-]{0,2}\d){6,16}(?![\w+]|[./-]\d)")
_NORTH_AMERICAN = re.compile(
    r"(?<![\w+./()-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(?![\w+(]|[./-]\w)"
)
_NATIONAL = re.compile(
    r"(?<![\w+.,/()-])(?<!\d )(?:\(0[1-9]\d{1,4}\) ?|0[1-9]\d{1,4}(?: ?[/-] ?| ))\d{2,8}(?:[ -]\d{2,5}){0,4}"
    r"(?![\w+(/]|[.,-]\d)"
)
_FRENCH = re.compile(r"(?<![\w+.,/()-])0[1-9](?:([ .-])\d{2})(?:\1\d{2}){3}(?![\w+(/]|[ .,-]\d)")
_LABELLED = re.compile(
    r"\b(?:tel(?:efon|ephone|éfono)?|phone|mobile|handy|fax|whatsapp|téléphone|call (?:me |us |him |her )?(?:at|on))"
    r"(?: (?:number|no|nr|nummer|is|at|on|unter))*[.:]* ?((?:\+|\(?\d)[\d ()./-]{5,18}\d)(?![\w+]|[.,/-]\d)",
    re.I,
)
_DATES = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|(?:19|20)\d\d\W+(?:19|20)\d\d")
# One digit, two digits, and those of three of ITU E.164 that are in use begin with these.
_COUNTRY_CODES = re.compile(
    r"1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-6]\d|29[0189]|35\d|37\d|38[0-35-79]|42[013]|"
    r"50\d|59\d|67\d|68\d|69[0-2]|85[0-36]|88\d|96\d|97\d|99\d"
)
_MANY_DIGITS = re.compile(r"\d(?:[^\dA-Za-z]{0,3}\d){5}|[23][0-9a-fA-F]{3}:")
"""What every kind but e-mail holds; most texts hold none of it, and looking for it is quick."""


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """Characters ``start`` up to, not including, ``end`` of a text."""

    start: int
    end: int
    kind: str


def find(text: str) -> list[Found]:
    """All that was found, in order and apart from each other."""
    found: list[Found] = []
    has_digits = _MANY_DIGITS.search(text) is not None
    taken = bytearray(len(text) if has_digits or "@" in text else 0)
    for kind, spans in _FINDERS.items():
        if not ("@" in text if kind == "EMAIL" else has_digits):
            continue
        for start, end in spans(text):
            if taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                found.append(Found(start, end, kind))
    return sorted(found)


def redact(text: str) -> tuple[str, Counter[str]]:
    """The text with each find replaced by its kind in brackets (``[EMAIL]``), and how many there were of each kind."""
    found = find(text)
    return replaced(text, found), Counter(place.kind for place in found)


def replaced(text: str, found: Sequence[Found]) -> str:
    """The text with these places, in order and apart from each other, replaced by their kinds in brackets."""
    parts: list[str] = []
    last = 0
    for place in found:
        parts += [text[last : place.start], f"[{place.kind}]"]
        last = place.end
    return "".join((*parts, text[last:]))


def said(counts: Counter[str]) -> str:
    """``3 e-mail addresses, 1 IBAN``, most frequent first."""
    order = sorted(counts, key=lambda kind: (-counts[kind], list(KINDS).index(kind)))
    return ", ".join(f"{counts[kind]:,} {KINDS[kind][counts[kind] != 1]}" for kind in order)


def texts_of(example: Example) -> Iterator[str]:
    """All that a row says."""
    if example.conversation is None:
        yield from example.texts
        yield from example.references
        return
    for message in example.conversation.messages:
        yield message.content
        yield from _strings_in(message.extra)


def _strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings_in(item)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    for match in _EMAIL.finditer(text):
        local, _, domain = match[0].rpartition("@")
        ending = domain.rpartition(".")[2].lower()
        if ending not in _FILE_ENDINGS and local.lower() not in _NOBODY and not _NOBODYS_DOMAIN.search(domain):
            yield match.span()


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN_START.finditer(text):
        length = _IBAN_LENGTHS.get(match[0][:2], 0)
        end, characters = match.start(), ""
        while len(characters) < length and end < len(text):
            letter = text[end]
            if not (letter.isascii() and (letter.isdigit() or letter.isupper())) and letter != " ":
                break
            characters += letter.strip()
            end += 1
        ends = end == len(text) or not (text[end].isalnum() or text[end] == "_")
        if length and len(characters) == length and ends and _mod_97(characters):
            yield match.start(), end


def _mod_97(iban: str) -> bool:
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97 == 1


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = _digits(match[0])
        if _issued(digits) and _luhn(digits):
            yield match.span()


def _issued(digits: str) -> bool:
    """Whether an issuer gives numbers that begin so and are so long."""
    two, four, length = int(digits[:2]), int(digits[:4]), len(digits)
    if digits[0] == "4":
        return length in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if two in (36, 38) or 300 <= int(digits[:3]) <= 305:
        return length == 14
    if four == 6011 or two == 65 or 3528 <= four <= 3589:
        return length == 16
    return two == 62 and 16 <= length <= 19


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _tax_ids(text: str) -> Iterator[tuple[int, int]]:
    for match in _TAX_ID.finditer(text):
        digits = _digits(match[0])
        times = sorted(Counter(digits[:10]).values())
        # One digit stands twice or three times among the first ten, never three times in a row; no other repeats.
        repeats = times[-1] in (2, 3) and times[-2] == 1 and not re.search(r"(\d)\1\1", digits[:10])
        if repeats and _mod_11_10(digits):
            yield match.span()


def _mod_11_10(digits: str) -> bool:
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(digits[10])


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _SSN.finditer(text))


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            numbering = address.version == 4 and sum(len(part) > 1 for part in match[0].split(".")) < 2
            before = text[max(0, match.start() - 12) : match.start()]
            if address.is_global and not numbering and not _VERSION_BEFORE.search(before):
                yield match.span()


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in _INTERNATIONAL.finditer(text):
        if _dialled(match[0]):
            yield match.span()
    yield from (match.span() for match in _NORTH_AMERICAN.finditer(text))
    for match in _FRENCH.finditer(text):
        pairs = [int(pair) for pair in re.findall(r"\d\d", match[0])]
        if any(after - before != 1 for before, after in pairwise(pairs)):  # 01 02 03 04 05 is counting
            yield match.span()
    for match in _NATIONAL.finditer(text):
        if 9 <= len(_digits(match[0])) <= 13:
            yield match.span()
    for match in _LABELLED.finditer(text):
        if 7 <= len(_digits(match[1])) <= 15 and not _DATES.fullmatch(match[1]):
            yield match.span(1)


def _dialled(number: str) -> bool:
    """Whether a number with its country's code is one that can be dialled."""
    digits = _digits(number).removeprefix("" if number.startswith("+") else "00")
    code = _COUNTRY_CODES.match(digits)
    if code is None or not 8 <= len(digits) <= 15:
        return False
    return code[0] != "1" or re.fullmatch(r"1[2-9]\d{2}[2-9]\d{6}", digits) is not None


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


_FINDERS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "EMAIL": _emails,
    "IBAN": _ibans,
    "CREDIT_CARD": _cards,
    "TAX_ID": _tax_ids,
    "SSN": _ssns,
    "IP_ADDRESS": _addresses,
    "PHONE": _phones,
}
