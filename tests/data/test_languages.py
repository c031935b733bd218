"""The language of texts: right where it says one, silent where it cannot know."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.data.languages import COMMON_WORDS, language_of

SENTENCES = {
    "en": "I would like to know how I can install this program without losing any of my files.",
    "de": "Ich würde gern wissen, wie ich dieses Programm installieren kann, ohne meine Dateien zu verlieren.",
    "fr": "Je voudrais savoir comment installer ce logiciel sur mon ordinateur, s'il vous plaît.",
    "es": "Me gustaría saber cómo puedo instalar este programa en mi ordenador sin perder los datos.",
    "pt": "Você pode me dizer como não perder os dados que estão no meu computador? Isso é muito importante.",
    "it": "Vorrei sapere come posso installare questo programma sul mio computer senza perdere i dati.",
    "nl": "Ik zou graag willen weten hoe ik dit programma op mijn computer kan installeren.",
    "sv": "Jag skulle vilja veta hur jag kan installera det här programmet på min dator utan att förlora data.",
    "pl": "Chciałbym wiedzieć, jak mogę zainstalować ten program i czy to jest możliwe bez utraty danych.",
    "tr": "Bu programı bilgisayarıma nasıl kurabilirim ve bunun için ne kadar zaman gerekir, çok mu zor?",
    "vi": "Tôi muốn biết làm thế nào để cài đặt chương trình này trên máy tính của tôi và không mất dữ liệu",
    "id": "Saya ingin tahu bagaimana saya bisa memasang program ini di komputer saya tanpa kehilangan data",
    "hu": "Szeretném tudni, hogy hogyan lehet ezt a programot telepíteni és hogy kell-e hozzá még valami.",
    "fi": "Haluaisin tietää, onko se mahdollista, jos ohjelma ei ole ilmainen, ja että se on minulle.",
    "ro": "Aș dori să știu cum pot instala acest program pe calculatorul meu și dacă este posibil fără probleme.",
    "cs": "Rád bych věděl, zda je to možné, aby se neztratila data, která jsou již uložena.",
    "ru": "Я хотел бы узнать, как мне установить эту программу на мой компьютер.",
    "uk": "Я хотів би дізнатися, як встановити цю програму.",
    "ja": "このプログラムをコンピュータにインストールする方法を知りたいです。",
    "zh": "我想知道如何在我的电脑上安装这个程序。",
    "ko": "이 프로그램을 설치하는 방법을 알고 싶습니다.",
    "ar": "أريد أن أعرف كيف أثبت هذا البرنامج على الحاسوب",
    "fa": "می‌خواهم بدانم چگونه این برنامه را نصب کنم",
    "el": "Θα ήθελα να μάθω πώς",
    "he": "אני רוצה לדעת איך",
    "hi": "मैं जानना चाहता हूँ",
    "th": "ฉันอยากรู้ว่า",
}


@pytest.mark.parametrize(("code", "text"), SENTENCES.items(), ids=SENTENCES)
def test_a_sentence_of_each(code: str, text: str) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "Paris",
        "Alice Jones, Bob Smith",
        "x = f(y) + 3",
        "ok ok ok",
        "per per per per",
        "Да",
        "!!! ???",
        "a a a a",
    ],
)
def test_where_nothing_is_known_nothing_is_said(text: str) -> None:
    assert language_of(text) is None


def test_code_and_links_do_not_count() -> None:
    code = "```python\nfor the in of: and = to if is else not\n```"
    assert language_of(f"{code}\nhttps://example.org/the-and-of-to") is None
    assert language_of(f"Das ist der Code, den du für die Aufgabe brauchst:\n{code}") == "de"


@given(st.text(max_size=100))
def test_any_text(text: str) -> None:
    assert language_of(text) is None or len(language_of(text) or "") == 2


def test_long_runs_come_back() -> None:
    assert language_of("a" * 1_000_000) is None
    assert language_of("@ " * 100_000) is None


def test_every_language_has_words_of_its_own() -> None:
    known = {code: set(words.split()) for code, words in COMMON_WORDS.items()}
    for code, words in known.items():
        assert len(words) >= 35, code
        assert len(words - set().union(*(other for name, other in known.items() if name != code))) >= 9, code


@pytest.mark.parametrize("code", ["en", "de"])
def test_real_paragraphs(shared_data: Path, code: str) -> None:
    articles = json.loads((shared_data / "xquad" / f"xquad.{code}.json").read_text(encoding="utf-8"))["data"]
    found = Counter(language_of(one["context"]) for article in articles for one in article["paragraphs"])
    assert set(found) <= {code, None}
    assert found[code] >= 0.97 * found.total()
