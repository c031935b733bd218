"""Which chat template a tokenizer has: its own, one of a small catalogue, or a person's Jinja file.

The choice is kept with the tokenizer, so ``save_pretrained`` writes it beside the model and whoever serves it uses the
same. Knows no mask, no data and no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from feinschliff.errors import ConfigError, Fault, ModelError
from feinschliff.models.chat_render import ASSISTANT, TemplateRenderer

CATALOGUE = ("chatml", "llama3", "gemma", "mistral", "phi", "zephyr", "alpaca", "plain")
WITHOUT_TEMPLATE = "plain"
"""For tokenizers that have none, where nobody chooses: it needs no new tokens."""
SAMPLE = ({"role": "user", "content": "question"}, {"role": ASSISTANT, "content": "answer"})
MARKER = re.compile(r"<\|[^|<>\s'\"]+\|>|<｜[^｜<>\s'\"]+｜>")
"""What looks like a special token in a person's template."""
DECLARED = re.compile(r"\{#.*?\bneeds:(.*?)-?#\}", re.DOTALL)
"""A template's first comment may name the tokens that it needs."""

Origin = Literal["tokenizer", "catalogue", "file"]


@dataclass(frozen=True, slots=True)
class ChosenTemplate:
    """A template's text (or its texts by name, as some tokenizers have them), and where it comes from."""

    name: str
    origin: Origin
    text: str | dict[str, str]
    announcements: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All of its texts."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text.values())


def choose(tokenizer: Any, asked: str | Path | None = None, where: str = "chat_template") -> ChosenTemplate:
    """The template that is asked for: None is the tokenizer's own, a name one of ``CATALOGUE``, else a Jinja file.

    A template of the catalogue writes the beginning-of-text token where the tokenizer itself would add one.

    Raises:
        ConfigError: there is neither such a name nor such a file, or the file is no Jinja template.
    """
    own = tokenizer.chat_template
    if asked is None and own is not None:
        return ChosenTemplate("the tokenizer's own", "tokenizer", own, ("chat template: the tokenizer's own",))
    if asked is None:
        said = f"the tokenizer has no chat template: {WITHOUT_TEMPLATE} of the catalogue is used"
        return ChosenTemplate(WITHOUT_TEMPLATE, "catalogue", _of_catalogue(tokenizer, WITHOUT_TEMPLATE), (said,))
    if str(asked) in CATALOGUE:
        said = f"chat template: {asked} of the catalogue" + (" instead of the tokenizer's own" if own else "")
        return ChosenTemplate(str(asked), "catalogue", _of_catalogue(tokenizer, str(asked)), (said,))
    text = _of_file(Path(asked), where)
    chosen = ChosenTemplate(str(asked), "file", text, (f"chat template: {asked}",))
    _check_syntax(text, str(asked))
    return chosen


def keep(tokenizer: Any, chosen: ChosenTemplate, arguments: Mapping[str, Any] | None = None) -> None:
    """Make it the tokenizer's, in place, with the arguments as defaults: who serves the model need not know of them.

    Raises:
        ConfigError: an argument has a name that no template can ask for.
    """
    wrong = [name for name in arguments or {} if not name.isidentifier()]
    if wrong:
        raise ConfigError(
            [
                Fault(
                    f"{name!r} is no name of a template's argument", "task.template_arguments", None, "write NAME=VALUE"
                )
                for name in wrong
            ]
        )
    start = "".join(_default(name, value) for name, value in (arguments or {}).items())
    text = chosen.text
    tokenizer.chat_template = (
        start + text if isinstance(text, str) else {name: start + one for name, one in text.items()}
    )


def _default(name: str, value: Any) -> str:
    """Jinja that writes nothing: the line end is the block's own, so what the template begins with stays."""
    written = str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
    return f"{{% if {name} is not defined %}}{{% set {name} = {written} %}}{{% endif %}}\n"


def needed_tokens(text: str) -> tuple[str, ...]:
    """Markers that should be single tokens: those its first comment declares, else what looks like special tokens."""
    declared = DECLARED.search(text)
    return tuple(dict.fromkeys(declared[1].split() if declared else MARKER.findall(text)))


def disagreements(
    tokenizer: Any, chosen: ChosenTemplate, eos_ids: Iterable[int] = (), arguments: Mapping[str, Any] | None = None
) -> list[Fault]:
    """What a tokenizer that keeps this template (see :func:`keep`) does not agree with it about; nothing is changed.

    Markers that are no single tokens; an end of answers at which generation does not stop, or none; a beginning of text
    that is written twice or, though the tokenizer adds one, never; a header of answers that no prompt ends with.
    A tokenizer's own template may spell its markers, as Zephyr's does: that is no fault.
    """
    pieces = {} if chosen.origin == "tokenizer" else _in_pieces(tokenizer, chosen)
    faults = [_in_pieces_fault(token, number, tokenizer) for token, number in pieces.items()]
    renderer = TemplateRenderer(tokenizer, eos_ids, arguments)
    try:
        whole, prompt = renderer.text(SAMPLE), renderer.text(SAMPLE[:1], generation_prompt=True)
    except ModelError as error:
        why = error.faults[0].why
        return [*faults, Fault("the chat template cannot write a question and an answer", why=why)]
    return faults + _end_faults(renderer, whole) + _begin_faults(tokenizer, whole) + _header_faults(renderer, prompt)


def reads_clock(chosen: ChosenTemplate, arguments: Mapping[str, Any] | None = None) -> bool:
    """Whether prompts depend on the day they are rendered on: the template asks for it, and no argument pins a date."""
    return any("strftime_now" in text for text in chosen.texts) and not any("date" in name for name in arguments or ())


def _of_catalogue(tokenizer: Any, name: str) -> str:
    text = (resources.files("feinschliff.models") / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    return "{{- bos_token -}}\n" + text if _adds_begin(tokenizer) else text


def _of_file(file: Path, where: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: neither a chat template of the catalogue nor a file that can be read",
            where=where,
            why=str(error),
            remedy=f"the catalogue has {', '.join(CATALOGUE)}",
        ) from error


def _check_syntax(text: str, where: str) -> None:
    from jinja2 import TemplateError, TemplateSyntaxError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        render_jinja_template([list(SAMPLE)], chat_template=text)
    except TemplateSyntaxError as error:
        place = f"{where}:{error.lineno}"
        remedy = "mend the line, or take a template of the catalogue: " + ", ".join(CATALOGUE)
        raise ConfigError("this is no Jinja template", where=place, why=error.message, remedy=remedy) from error
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        pass  # It may refuse the sample; what it says about real rows is said row by row.


def _adds_begin(tokenizer: Any) -> bool:
    begin = tokenizer.bos_token_id
    plain, added = (tokenizer("a", add_special_tokens=adds)["input_ids"] for adds in (False, True))
    return begin is not None and added[:1] == [begin] and plain[:1] != [begin]


def _in_pieces(tokenizer: Any, chosen: ChosenTemplate) -> dict[str, int]:
    tokens = [token for text in chosen.texts for token in needed_tokens(text)]
    found = {}
    for token in dict.fromkeys(tokens):
        ids = tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            found[token] = len(ids)
    return found


def _in_pieces_fault(token: str, number: int, tokenizer: Any) -> Fault:
    unknown = number == 1 or tokenizer.unk_token_id in tokenizer(token, add_special_tokens=False)["input_ids"]
    return Fault(
        f"{token!r} is read in {number} pieces" + (", as unknown" if unknown else ""),
        why="the template writes it as a marker, but it is no token of this tokenizer",
        remedy=f"take a template that needs no new tokens ({WITHOUT_TEMPLATE}, alpaca), or add the token to the model",
    )


def _end_faults(renderer: TemplateRenderer, whole: str) -> list[Fault]:
    end = renderer.end_of(whole)
    if end is None or not whole[: end[0]].removesuffix(end[1]).strip():
        return [
            Fault(
                "the template ends answers with no special token",
                why=f"an answer ends with {whole[-20:]!r}, so the model would not learn where to stop",
                remedy="take a template that writes the tokenizer's end token",
            )
        ]
    if end[1] in renderer.ends:
        return []
    stops = ", ".join(sorted(renderer.ends)) or "no token at all"
    return [
        Fault(
            f"the template ends answers with {end[1]!r}, generation stops at {stops}",
            why="the model would learn an end that nobody stops at",
            remedy=f"add token {renderer.id_of(end[1])} to eos_token_id of the generation settings",
        )
    ]


def _begin_faults(tokenizer: Any, whole: str) -> list[Fault]:
    begin = tokenizer.bos_token_id
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    # Some tokenizers name the token that opens every message (SmolLM2: <|im_start|>): then it is no beginning.
    if begin is None:
        return []
    if ids[:2] == [begin, begin]:
        return [Fault(f"the template writes {tokenizer.bos_token} twice at the beginning", remedy="take one out of it")]
    if ids[:1] != [begin] and _adds_begin(tokenizer):
        return [
            Fault(
                f"the template never writes {tokenizer.bos_token}, with which the tokenizer begins every text",
                why="the model was trained on texts that begin with it",
                remedy="begin the template with {{ bos_token }}",
            )
        ]
    return []


def _header_faults(renderer: TemplateRenderer, prompt: str) -> list[Fault]:
    """A template that ignores ``add_generation_prompt`` and writes something between question and answer."""
    if prompt != renderer.text(SAMPLE[:1]):
        return []
    place = renderer.place(SAMPLE, (), 1, renderer.text(SAMPLE))
    header = "" if place is None else renderer.text(SAMPLE)[len(prompt) : place.start]
    if not header.strip():
        return []
    return [
        Fault(
            f"prompts do not end with the header of answers, {header!r}",
            why="the template ignores add_generation_prompt, so the model itself has to write it first",
            remedy="write it where add_generation_prompt is set",
        )
    ]
