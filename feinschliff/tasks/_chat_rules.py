"""What the task's options make of a tokenizer: its template, the rules of rows, what the two do not agree about.

For whoever makes rows, with a model in memory or with its tokenizer alone. Knows no network and no loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from feinschliff import settings
from feinschliff.data.examples import Example
from feinschliff.errors import Fault, ModelError
from feinschliff.models import chat_templates
from feinschliff.models.chat_render import TemplateRenderer
from feinschliff.models.chat_rows import ChatRenderer, ChatRow
from feinschliff.models.chat_templates import ChosenTemplate
from feinschliff.models.chat_turns import LOSSES, Loss, OnMismatch
from feinschliff.tasks import _chat_encoding
from feinschliff.tasks._chat_encoding import Rules

if TYPE_CHECKING:
    from feinschliff.tasks.sft import SftConfig

Fate = Literal["", "cut", "dropped", "read in windows"]
"""What becomes of a row by its length."""


@dataclass(frozen=True, slots=True)
class ChatReading:
    """A tokenizer at work with the template that was chosen for it."""

    renderer: ChatRenderer
    template: ChosenTemplate
    disagreements: list[Fault]
    """Of template and tokenizer: a run on conversations is refused with them; documents need no template."""
    announcements: list[str]


def reading(tokenizer: Any, config: SftConfig, end_ids: Iterable[int]) -> ChatReading:
    """The template that is asked for, kept with the tokenizer. ``end_ids``: where the model stops writing.

    Raises:
        ConfigError: there is no such template, or an argument has a name that no template can ask for.
        ModelError: the tokenizer cannot say where its tokens stand.
    """
    ends, arguments = tuple(end_ids), arguments_of(config)
    chosen = chat_templates.choose(tokenizer, config.chat_template, "task.chat_template")
    chat_templates.keep(tokenizer, chosen, arguments)
    renderer = ChatRenderer(tokenizer, ends, arguments)
    # A run lets generation stop where its template ends answers.
    written = _ends_of_template(renderer.renderer)
    known = {*ends, *written}
    said = list(chosen.announcements)
    texts: list[str] = tokenizer.convert_ids_to_tokens(written)
    if new := [text for text in texts if text not in renderer.renderer.ends]:
        said.append(f"the template ends answers with {new[0]!r}: the model is told to stop there, and saved so")
    if chat_templates.reads_clock(chosen, arguments):
        said.append("the chat template writes today's date: pin it with --task.template-arguments date_string=...")
    return ChatReading(renderer, chosen, chat_templates.disagreements(tokenizer, chosen, known, arguments), said)


def arguments_of(config: SftConfig) -> dict[str, Any]:
    """What goes to the template by name; ``true``, ``false`` and whole numbers as such: templates test for them."""
    pairs = (text.partition("=") for text in config.template_arguments)
    return {name.strip(): _value(value.strip()) for name, _, value in pairs}


def rules_of(config: SftConfig, max_length_tokens: int, *, documents: bool) -> Rules:
    """How rows are made; documents are read in windows where nothing else is asked for, conversations dropped."""
    asked, given = config.loss_on, config.long_rows
    loss: Loss = asked[0] if len(asked) == 1 and asked[0] in LOSSES else asked
    on_mismatch: OnMismatch = "inference" if config.on_mismatch == "inference" else "report"
    long_rows = ("window" if documents else "drop") if given == "auto" else given
    cache = settings.read().cache_dir / "tokens" if config.token_cache else None
    return Rules(loss, on_mismatch, long_rows, max_length_tokens, cache)


def learned(row: ChatRow, rules: Rules) -> tuple[list[ChatRow], Fate]:
    """What is learned of a row: itself, or parts of it, or nothing; and what became of it where it is too long."""
    parts, lost = _chat_encoding.of_length([row], rules)
    fate: Fate = next((fate for fate in ("cut", "dropped", "read in windows") if lost[fate]), "")
    return parts, fate


def lengths(renderer: ChatRenderer, examples: Sequence[Example], rules: Rules) -> list[int]:
    """Tokens that a network reads of each example, of its longest row where it has several; 0 where it has none."""
    found = [0] * len(examples)
    for row in _chat_encoding.rendered(renderer, examples, rules).rows:
        found[row.conversation] = max(found[row.conversation], len(row.ids) - 1)
    return found


def _ends_of_template(renderer: TemplateRenderer) -> list[int]:
    try:
        end = renderer.end_of(renderer.text(chat_templates.SAMPLE))
    except ModelError:
        return []
    return [] if end is None else [renderer.id_of(end[1])]


def _value(text: str) -> Any:
    lowered = text.casefold()
    if lowered in ("true", "false"):
        return lowered == "true"
    return int(text) if text.lstrip("-").isdecimal() else text
