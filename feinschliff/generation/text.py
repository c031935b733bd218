"""Text from tokens as they come: only whole characters, and nothing that might turn out to be a stop string.

A token may hold part of a character, or the end of one and the beginning of a stop string; so stop strings are looked
for in characters, never in tokens. Knows no tokenizer: it is given a function that decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "�"
"""What decoders write for bytes that are no whole character (yet)."""


class TextStream:
    """One answer's text. ``decode`` turns token ids into text, special tokens left out.

    Decoders look at neighbours (a first space is dropped, bytes are joined), so a new token is decoded behind the
    tokens of the last whole piece, and what those alone give is taken off.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()) -> None:
        self.text = ""
        """Whole characters so far, cut before the stop string."""
        self.is_stopped = False
        """Whether a stop string was met."""
        self._decode, self._stops = decode, tuple(stops)
        self._known: list[int] = []
        self._pending: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        """Take a token; the text that is sure now."""
        self._pending.append(token)
        self._settle(is_last=False)
        return self._give(self._sure())

    def finish(self) -> str:
        """The rest, when no token will come."""
        if not self.is_stopped:
            self._settle(is_last=True)
        return self._give(len(self.text))

    def _settle(self, *, is_last: bool) -> None:
        whole = self._decode(self._known + self._pending)
        if not self._pending or (whole.endswith(UNFINISHED) and not is_last):
            return
        piece = whole[len(self._decode(self._known)) if self._known else 0 :]
        self.text += piece
        self._known = self._pending if piece else self._known + self._pending
        self._pending = []
        places = [place for stop in self._stops if (place := self.text.find(stop, self._given)) >= 0]
        if places:
            self.text = self.text[: min(places)]
            self.is_stopped = True

    def _sure(self) -> int:
        """Up to where no stop string can begin."""
        if self.is_stopped:
            return len(self.text)
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for begin in range(max(self._given, len(self.text) - longest), len(self.text)):
            if any(stop.startswith(self.text[begin:]) for stop in self._stops):
                return begin
        return len(self.text)

    def _give(self, end: int) -> str:
        piece = self.text[self._given : end]
        self._given = max(self._given, end)
        return piece
