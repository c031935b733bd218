"""Whether an answer refuses, or speaks of itself as a language model. Knows no row; patterns of twelve languages.

Only the beginning of an answer is looked at, and only phrases by which models refuse: ``I'm sorry to hear that`` or
``I can't help but smile`` is no refusal.
"""

from __future__ import annotations

import re

_LOOKED_AT_CHARACTERS = 300

_DOES = (
    "(?:assist|help(?= (?:you|with|anyone|someone|people|create|write)| ?[.,;!]|$)|provide|fulfil|comply|answer|engage|"
    "create|generate|support|discuss|respond|do that|offer|give|share|write|complete|tell|make)"
)
_CANNOT = (
    "(?:can't|cannot|can not|won't|will not|am unable to|'m unable to|am not able to|'m not able to|must decline to)"
)
_AN_AI = "an? (?:ai|artificial intelligence|(?:large )?language model)\\b(?: language| text)?"
PATTERNS = {
    "en": (
        r"^\W*(?:oh\W+)?(?:(?:i'm|i am)(?: so| very| really)? (?:sorry|afraid)|sorry|(?:my )?apologies|i apologi[sz]e|"
        rf"unfortunately)\W+(?:but |however,? )?(?:as {_AN_AI}|i {_CANNOT}|i'm (?:unable|not able|not comfortable)|"
        "i (?:do not|don't) (?:feel comfortable|have (?:access|the ability|personal)))",
        rf"^\W*i {_CANNOT} (?:in good conscience )?{_DOES}",
        rf"\bas {_AN_AI}(?:[- ](?:based|powered))?(?: model| assistant| chatbot)?"
        r"(?: (?:developed|created|trained) by \w+)?,? (?:i\b|my\b|it is not)",
        rf"\bi(?:'m| am) (?:just |only )?{_AN_AI}(?: model| assistant)?[,;.]? (?:and |so |which means )?(?:i )?"
        "(?:can't|cannot|don't|do not|am not|am unable)",
    ),
    "de": (
        r"^\W*(?:es )?tut mir (?:sehr )?leid\W+(?:aber |doch )?(?:als ki|ich (?:kann|darf|bin nicht|habe keine)|"
        "(?:das|dabei|dazu|hierbei|damit) (?:kann|darf) ich)",
        r"^\W*(?:entschuldigung|leider)\W+(?:aber )?(?:ich kann|kann ich) [^.]{0,60}\b(?:nicht|keine)\b",
        r"^\W*ich kann (?:dir|ihnen|euch)? ?(?:dabei|damit|hierbei|diese anfrage|das) (?:leider )?nicht",
        r"\bals (?:ki|künstliche intelligenz|(?:großes )?(?:ki-)?sprachmodell|ki-(?:modell|assistent|system)),? "
        "(?:kann|habe|bin|darf|besitze|verfüge) ich",
    ),
    "fr": (
        r"^\W*(?:je suis |je regrette\W+)?(?:vraiment )?(?:désolée?|navrée?)\W+(?:mais )?"
        "(?:en tant qu|je ne (?:peux|puis|suis))",
        r"^\W*je ne (?:peux|puis) pas (?:vous aider|t'aider|répondre|fournir|accéder|satisfaire)",
        r"\ben tant qu(?:'|e )(?:ia|intelligence artificielle|modèle (?:de langage|linguistique)|"
        r"assistant (?:ia|virtuel))[^.]{0,20},? je",
    ),
    "es": (
        r"^\W*lo (?:siento|lamento)(?: mucho)?\W+(?:pero )?(?:como |no (?:puedo|tengo|estoy))",
        r"^\W*no puedo (?:ayudar(?:te|le)?|proporcionar|cumplir|responder)",
        r"\bcomo (?:un )?(?:modelo de lenguaje|ia|inteligencia artificial|asistente de ia)[^.]{0,25},? (?:no|yo|mi)\b",
    ),
    "it": (
        r"^\W*(?:mi dispiace|spiacente|sono spiacente)\W+(?:ma )?(?:come |in quanto |non (?:posso|sono|ho))",
        r"\b(?:come|in quanto) (?:modello linguistico|ia|intelligenza artificiale|assistente)[^.]{0,25},? (?:non|io)\b",
    ),
    "pt": (
        r"^\W*(?:desculpe|lamento|sinto muito|peço desculpas?)\W+(?:mas )?"
        "(?:como |(?:eu )?não (?:posso|tenho|consigo))",
        r"\bcomo (?:um |uma )?(?:modelo de linguagem|ia|inteligência artificial|assistente de ia)[^.]{0,25},? "
        r"(?:não|eu)\b",
    ),
    "nl": (
        r"^\W*(?:het spijt me|sorry|helaas)\W+(?:maar )?(?:als ai|ik kan|kan ik) [^.]{0,50}\b(?:niet|geen)\b",
        r"\bals (?:een )?(?:ai|taalmodel|ai-taalmodel|ai-assistent),? (?:kan|heb|ben) ik",
    ),
    "pl": (
        r"^\W*(?:przykro mi|przepraszam|niestety)\W+(?:ale )?nie (?:mogę|jestem w stanie)",
        r"\bjako (?:model językowy|ai|sztuczna inteligencja)[^.]{0,25},? nie\b",
    ),
    "ru": (
        r"^\W*(?:извините|простите|к сожалению|мне (?:очень )?жаль)\W+(?:но )?я не (?:могу|имею)",
        r"\bкак (?:языковая модель|искусственный интеллект|ии)\b[^.]{0,25}я\b",
    ),
    "zh": (
        r"^\W*(?:对不起|(?:非常|很)?抱歉)[^。]{0,20}(?:无法|不能)",
        r"作为(?:一个|一名|一款)?(?:人工智能|ai|大?语言模型)(?:助手|语言模型|模型)?[，,]\s*我",
    ),
    "ja": (
        r"^\W*(?:申し訳(?:ありません|ございません)|すみません|ごめんなさい)[^。]{0,40}(?:できません|かねます|できかねます)",
        r"(?:ai|人工知能|言語モデル)(?:アシスタント)?として[、,]?(?:私は)?[^。]{0,40}(?:できません|ありません|かねます)",
    ),
    "ko": (
        r"^\W*죄송(?:합니다|하지만|하게도)[^.]{0,50}(?:없습니다|어렵습니다)",
        r"(?:인공지능|ai|언어 ?모델)(?:으로서|로서|이기 때문에)[^.]{0,60}(?:없습니다|않습니다)",
    ),
}  # fmt: skip
"""Language to its phrases, in small letters."""
_COMPILED = tuple(re.compile(pattern) for patterns in PATTERNS.values() for pattern in patterns)


def refusal_in(answer: str) -> str | None:
    """The words by which an answer refuses or speaks of itself as a model; None where it does neither."""
    beginning = " ".join(answer[:_LOOKED_AT_CHARACTERS].replace("’", "'").split()).lower()
    for pattern in _COMPILED:
        match = pattern.search(beginning)
        if match:
            return match[0]
    return None
