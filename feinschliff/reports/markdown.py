"""Makes any text harmless inside Markdown. Knows no report."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]|~#])")


def escape_markdown(value: Any) -> str:
    """A value as text that Markdown shows as it is: no markup, links, HTML or table cells come out of it.

    What is marked safe (``Markup``) passes; what is written between backticks must be put through ``in_code`` instead.
    """
    if isinstance(value, Markup):
        return str(value)
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _PUNCTUATION.sub(r"\\\1", text)


def in_code(value: Any) -> Markup:
    """A value as inline code: in backticks that it cannot close, on one line, safe in a table cell."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return Markup(f"`{text}`")
