"""Personal data: what is found, what must not be, and rows without it."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.data.conversations import Conversation, Message
from feinschliff.data.examples import Example, Place
from feinschliff.data.personal_data import KINDS, find, redact, said
from feinschliff.data.personal_findings import personal_data_findings


def kinds(text: str) -> list[str]:
    return [place.kind for place in find(text)]


FOUND = {
    "EMAIL": [
        "write to jane.doe+news@mail.example-shop.co.uk, please",
        "<a href='mailto:jane@firma.de'>",
        "?email=jane_doe@uni-köln.de&x=1",
        "JANE@FIRMA.DE.",
    ],
    "IBAN": [
        "DE89 3704 0044 0532 0130 00",
        "DE89370400440532013000",
        "IBAN: GB29 NWBK 6016 1331 9268 19 (BIC NWBKGBXX)",
        "NO93 8601 1117 947",
        "auf FR14 2004 1010 0505 0001 3M02 606.",
        "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    ],
    "CREDIT_CARD": [
        "4111 1111 1111 1111",
        "4111111111111111",
        "5500-0000-0000-0004",
        "3782 822463 10005",
        "paid with 6011000990139424.",
    ],
    "TAX_ID": ["Steuer-ID 86095742719", "86 095 742 719", "IdNr. 65929970489"],
    "SSN": ["my number is 859-56-0028", "SSN: 123-45-6789."],
    "IP_ADDRESS": ["from 93.184.216.34 at noon", "[2a02:8109:b40:1c00::1]", "https://93.184.216.34:80/x"],
    "PHONE": [
        "+49 30 901820",
        "+4915123456789",
        "+1 (415) 555-2671",
        "0049 (0)30 901820",
        "+44 20 7946 0958",
        "(301) 402-7364",
        "1-800-411-1222",
        "call 404-639-1075 during",
        "030 12345678",
        "030/123 456 78",
        "(030) 1234567",
        "0151-23456789",
        "06 12 34 56 78",
        "Tel.: 5553476",
        "phone number is 555-3476",
        "call me at 415 555 2671",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_found(kind: str, text: str) -> None:
    assert kinds(text) == [kind]
    assert f"[{kind}]" in redact(text)[0]
    assert not any(digit.isdigit() for digit in redact(text)[0] if kind not in ("EMAIL", "IP_ADDRESS"))


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com or admin@shop.example",
        "root@localhost, git@github.com:owner/repository.git",
        "icon@2x.png and logo@3x.jpeg",
        "y = x @ w; z = ab@self.weight(x); @property; @dataclass",
        "DE89 3704 0044 0532 0130 01",  # checksum
        "ZZ89 3704 0044 0532 0130 00",  # no such country
        "DE89 3704 0044 0532 0130",  # too short
        "DE89 3704 0044 0532 0130 0012",  # too long
        "4111 1111 1111 1112",  # checksum
        "1234567812345670",  # Luhn holds, but no issuer begins so
        "0.4111111111111111 and 4111111111111111.5",
        "id-4111111111111111-x",
        "86095742718",  # check digit
        "11111111111",
        "12345678901",
        "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000",
        "127.0.0.1, 192.168.1.20, 10.11.12.13, 0.0.0.0, 255.255.255.0",
        "192.0.2.44 and 2001:db8::1, fe80::1, ::1",
        "version 12.34.56.78, v 10.22.33.44, chapter 1.2.3.4, 1.22.3.4.5, 300.1.2.3",
        "8.8.8.8 and 1.1.1.1",
        "12:34:56 and 2020:12:31",
        "2020-12-31, 31.12.2020, 01/02/2020, 2019-2020, 12.05.2020 - 13.05.2020",
        "mobile 2019-2020, phone: 2020-12-31, fax 31.12.2020",
        "3,000,000 of 1 000 000 and 0.123 456 789",
        "01 02 03 04 05 06",
        "x = +12345678; y = +1000000000",
        "+1 123 456 7890",  # no area begins with 1
        "ISBN 0-306-40615-2, 978-3-16-148410-0, ISSN 0378-5955",
        "17 + 4 = 21, 2 * 3 * 4 * 5 * 6 * 7 * 8 * 9",
        "1234567890123456789012345678901234567890",
        "SKU 300250100, order 4512-8832, room 0815",
        "#### 1200000",
        "550e8400-e29b-41d4-a716-446655440000",
        "1700000000, 1700000000000, 1700000000000000",
        "3.14159265358979323846",
    ],
)
def test_not_found(text: str) -> None:
    assert [(place.kind, text[place.start : place.end]) for place in find(text)] == []


def test_several_are_replaced_in_their_places() -> None:
    text = "Jane (jane@firma.de, +49 30 901820) paid from DE89 3704 0044 0532 0130 00; cc bob@firma.de."
    clean, counts = redact(text)
    assert clean == "Jane ([EMAIL], [PHONE]) paid from [IBAN]; cc [EMAIL]."
    assert counts == {"EMAIL": 2, "PHONE": 1, "IBAN": 1}
    assert said(counts) == "2 e-mail addresses, 1 IBAN, 1 telephone number"


def test_a_card_number_with_a_plus_is_one_thing() -> None:
    assert kinds("call +4111 1111 1111 1111") in (["PHONE"], ["CREDIT_CARD"], [])
    assert len(find("859-56-0028")) == 1


@given(st.text(alphabet="0123456789 .-/+()@:aDE", max_size=60))
@settings(max_examples=300)
def test_finds_are_in_order_apart_and_gone_after_redacting(text: str) -> None:
    found = find(text)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(0 <= place.start < place.end <= len(text) for place in found)
    assert redact(text)[1] == Counter(place.kind for place in found)
    if not found:
        assert redact(text)[0] == text


@pytest.mark.parametrize(
    "piece", ["a", "1", "1 ", "+1", "a@", "a.", "1.", "0", "(0", "DE12", "a@a.", ":2001:", "tel 1"]
)
def test_long_runs_are_searched_in_one_pass(piece: str) -> None:
    """A pattern that tries every beginning with every end would not come back from these."""
    assert find(piece * (200_000 // len(piece))) == []


def test_many_finds_in_one_text() -> None:
    assert redact("jane@firma.de " * 20_000)[1] == {"EMAIL": 20_000}


def test_random_digits_are_rarely_anything() -> None:
    """Numbers as they stand in data: of 20,000 random ones of 5 to 18 digits hardly any passes."""
    generator = random.Random(0)
    numbers = [str(generator.randrange(10 ** generator.randrange(4, 18))) for _ in range(20_000)]
    found = Counter(kind for number in numbers for kind in kinds(f"n = {number};"))
    assert set(found) <= {"CREDIT_CARD", "TAX_ID"}
    assert found.total() < 60


def example(line: int, *texts: str, reference: str = "fine") -> Example:
    return Example(texts, (), Place("chat.jsonl", line), references=(reference,))


def test_the_finding_counts_rows_and_kinds_and_shows_them_redacted() -> None:
    rows = [
        example(1, "nothing here"),
        example(2, "mail jane@firma.de or bob@firma.de", reference="It is " + "very " * 30 + "+49 30 901820"),
        example(3, "x", reference="call (301) 402-7364 " + "now " * 50),
    ]
    [finding] = personal_data_findings(rows)
    assert (finding.kind, finding.severity, finding.count) == ("personal_data", "warning", 2)
    assert finding.message == ("2 rows hold what looks like personal data: 2 e-mail addresses, 2 telephone numbers")
    first = finding.examples[0]
    assert (first.line, first.text) == (2, "mail [EMAIL] or [EMAIL]")
    assert first.note == "2 e-mail addresses, 1 telephone number"
    assert finding.examples[1].text.startswith("call [PHONE] now")
    assert len(finding.examples[1].text) < 100
    assert personal_data_findings([example(1, "nothing")]) == []


def test_conversations_are_read_whole() -> None:
    messages = (
        Message("user", "I am jane@firma.de"),
        Message("assistant", "", extra={"tool_calls": [{"function": {"arguments": '{"to": "bob@firma.de"}'}}]}),
        Message("tool", "sent from 93.184.216.34"),
    )
    row = Example(("I am jane@firma.de",), (), Place("f", 1), conversation=Conversation(messages))
    assert "2 e-mail addresses, 1 IP address" in personal_data_findings([row])[0].message


def test_every_kind_has_a_name_and_an_example() -> None:
    assert set(KINDS) == set(FOUND)


def test_real_rows_without_personal_data(shared_data: Path) -> None:
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [place for row in rows for text in row.values() for place in find(text)] == []
