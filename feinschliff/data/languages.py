"""The language of a text by its script and its commonest words; None where that does not say. Knows no row and no file.

Small on purpose: it counts languages of a set and finds rows that stick out, so it rather says nothing than guesses.
Codes are those of ISO 639-1.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict

FEWEST_HITS = 3
"""Common words of a language that a text must hold."""
LEAD = 1.5
"""So many times those of the next language, where a word of k languages counts 1/k."""
FEWEST_SHARE = 0.12
"""Of the different words of the text: a list of names has a few common words by chance."""
_MOST_TIMES = 3
_MOST_CHARACTERS = 4000
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|(?<!\S)\S+@\S+|<[^<>\n]*>|\\[A-Za-z]+", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

COMMON_WORDS = {
    "en": "a i the of and to in is that it was for on are with as be at this have from or by not but what all were "
    "we when your can there an which their if will about how them then she many some these would has more could did "
    "my than been who its now where much should because into just also you they his her am do had me no our out up "
    "so us may take make why does",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
    "hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur "
    "bis mehr durch man wenn ich kann sein wir diese dieser ihre ihr unter sehr wurde können keine du mich was wer "
    "wo wann warum welche welcher welches welchen welchem wem wen wurden worden gibt ihn ihm beim seine seiner",
    "fr": "le la les de des du et un une est en que qui dans pour pas au sur ce il ne se plus par avec son sa ses "
    "être sont cette aux mais ou comme nous vous ils elle leur été fait peut tout très où c'est d'un d'une l'on "
    "n'est ces je quel quelle quels quelles comment pourquoi qu'est-ce combien quand mon ton votre s'il j'ai",
    "es": "el la los las de que y en un una es se no por con para su al lo como más pero sus le ha este sí porque "
    "esta entre cuando muy sin sobre también me hasta hay donde han quien están ser son desde todo nos puede del fue "
    "era qué cuál cómo cuándo dónde quién cuánto mi tu",
    "pt": "o a os as de que e em um uma é do da dos das no na nos nas não para com por se mais como mas ao ele ela "
    "sua seu ou quando muito foi são pode está isso também pelo pela até entre depois sem mesmo aos ter você eu qual "
    "quais quem quanto onde porque meu minha este esta posso",
    "it": "il lo la i gli le di che e è in un una del della dei delle per non con si da nel nella al alla come più "
    "ma anche sono ha questo questa dal dalla essere se o loro suo sua degli stato tra può quando molto su nei quale "
    "quali chi quanto dove perché cosa mio mia posso",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij nog uit door naar "
    "over ze hij wordt deze worden dit heeft kan wel geen tot je ik we hebben was werd meer moet zich onder kunnen "
    "wie hoe waarom wanneer waar welke hoeveel mijn",
    "sv": "och att det i en som är av för på den med inte till har de ett om var jag men sig så kan från hade när "
    "eller vi nu man efter där skulle också bara mycket alla denna detta ska kommer måste finns vara blir vad hur "
    "varför vilken vilket mitt min",
    "da": "og at det i en som er af for på den med ikke til har de et om var jeg men sig så kan fra havde når eller "
    "vi nu man efter hvor skulle også kun meget alle denne dette skal kommer må findes være bliver blev hvad nogle "
    "hvordan hvorfor hvem hvilken hvilket uden",
    "no": "og at det i en som er av for på den med ikke til har de et om var jeg men seg så kan fra hadde når eller "
    "vi nå man etter hvor skulle også bare mye alle denne dette skal kommer må finnes være blir ble hva noen hvordan "
    "hvorfor hvem hvilken hvilket uten",
    "pl": "i w na z do się nie to że jest o jak po co za od ale czy przez przy dla są oraz był tym tego jego które "
    "może być tylko który która już ich lub ma bardzo jej także można gdy tak ten ta te",
    "cs": "a v se na je že to s z do o i k ve pro za by jsou ale jako po jeho od byl která které který již nebo až "
    "při podle však také jak tak být má co jen bude ještě není více když může lze jsem",
    "ro": "și de în a la cu care nu pe este din o că un mai să se sau ce pentru sunt fi au prin după dar ca fost "
    "această acest sale lui ale între poate când foarte dintre am ai sa doar",
    "hu": "a az és hogy nem is egy van de ez meg csak volt már mint vagy még ki el azt mert ha lehet kell minden "
    "olyan amely ezt után több nagyon akkor fel lesz nincs között során ami",
    "fi": "ja on ei se että oli hän mutta kun myös ovat niin kuin tai joka ole mitä vain sen sitä voi jos olla jotka "
    "hänen nyt siitä sekä ollut jo kanssa mukaan ne tämä tämän vielä enemmän",
    "tr": "ve bir bu da de için ile çok olarak daha olan gibi kadar ne en sonra var ama o mi değil her ya ki olduğu "
    "şey ben sen biz onun tarafından nasıl olduğunu veya ise eden bunu",
    "id": "yang dan di dengan untuk dari ini dalam tidak pada itu adalah akan ke juga atau dapat oleh karena ada "
    "sebagai lebih saya mereka bisa telah kami anda tersebut seperti sudah kita dia jika menjadi",
    "vi": "và của là có được cho không trong một các những với người này để đã về khi như từ tôi cũng đến nhiều bạn "
    "thì hơn sẽ vào hoặc phải năm trên nhưng lại",
}  # fmt: skip
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {}
for _code, _words in COMMON_WORDS.items():
    for _word in set(_words.split()):
        _LANGUAGES_OF[_word] = (*_LANGUAGES_OF.get(_word, ()), _code)

_OF_SCRIPT = {
    "HANGUL": "ko", "THAI": "th", "HEBREW": "he", "GREEK": "el", "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta",
    "TELUGU": "te", "ARMENIAN": "hy", "GEORGIAN": "ka", "HIRAGANA": "ja", "KATAKANA": "ja",
}  # fmt: skip
_LETTERS_OF = {
    "CYRILLIC": (("uk", "іїєґ"), ("sr", "јљњђћџ"), ("ru", "ыэё"), ("bg", "ъ")),
    "ARABIC": (("ur", "ٹڈڑے"), ("fa", "پچژگ"), ("ar", "ةىأإ")),
}
"""Of scripts that several languages use: letters by which they are told apart, the first that occurs decides."""


def language_of(text: str) -> str | None:
    """The code of the language a text is mostly written in; code, links and markup do not count."""
    prose = _NOT_PROSE.sub(" ", text[:_MOST_CHARACTERS])
    scripts = Counter(_script(letter) for letter in prose if letter.isalpha())
    if not scripts:
        return None
    script, count = scripts.most_common(1)[0]
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if script in ("CJK", "HIRAGANA", "KATAKANA"):
        return "ja" if kana > 0.1 * scripts.total() else "zh" if script == "CJK" else None
    if count < 0.5 * scripts.total():
        return None
    if script in _LETTERS_OF:
        return next((code for code, letters in _LETTERS_OF[script] if any(c in letters for c in prose.lower())), None)
    return _OF_SCRIPT.get(script) if script != "LATIN" else _by_words(prose)


def _by_words(prose: str) -> str | None:
    words = _WORD.findall(prose.lower().replace("’", "'"))
    hits: Counter[str] = Counter()
    distinct: Counter[str] = Counter()
    scores: defaultdict[str, float] = defaultdict(float)
    for word, times in Counter(words).items():
        languages = _LANGUAGES_OF.get(word, ())
        for code in languages:
            # A text goes on about something (``4 apples per day``), and a, o, y stand for other things too.
            counted = min(times, _MOST_TIMES) if len(word) > 1 else 1
            hits[code] += counted
            distinct[code] += 1
            scores[code] += counted / len(languages)
    best, next_best = [*sorted(scores, key=lambda code: -scores[code]), "", ""][:2]
    enough = hits[best] >= max(FEWEST_HITS, FEWEST_SHARE * len(set(words))) and distinct[best] > 1
    return best if enough and scores[best] >= LEAD * scores[next_best] else None


def _script(letter: str) -> str:
    """The first word of the letter's name, which is its script."""
    if letter.isascii():
        return "LATIN"
    return unicodedata.name(letter, "").partition(" ")[0].partition("-")[0]
