"""The text of an answer on its way to who listens: up to the first stop text, and with nothing of that."""

from __future__ import annotations

from collections.abc import Sequence

from mistral_client.server.engine import Emit, GenerationCancelled, Piece, TokenLogprob


class AnswerText:
    """Takes the text of an answer as it is made, and hands it to `emit` as soon as it cannot be part of a stop text."""

    def __init__(self, emit: Emit, stop: Sequence[str]) -> None:
        self.stopped = False
        """A stop text has come."""
        self._emit = emit
        self._stop = [text for text in stop if text]
        self._held = ""
        """The end of the text so far, which may be the beginning of a stop text."""
        self._tokens: tuple[TokenLogprob, ...] = ()
        """Those whose text has not been handed out."""

    def add(self, text: str, tokens: Sequence[TokenLogprob] = (), *, last: bool) -> bool:
        """Take the next text; `last` when the model or a limit ends the answer with it. True when it has ended.

        Raises `GenerationCancelled` when nobody listens any more, and what `emit` raises.
        """
        text = self._held + text
        found = min((at for at in map(text.find, self._stop) if at >= 0), default=None)
        if found is not None:
            text, self._held, self.stopped = text[:found], "", True
        else:
            hold = 0 if last else _overlap(text, self._stop)
            text, self._held = text[: len(text) - hold], text[len(text) - hold :]
        self._tokens += tuple(tokens)
        ended = last or self.stopped
        if text or not ended:
            handed, self._tokens = (self._tokens, ()) if text else ((), self._tokens)
            if self._emit(Piece(text, handed)) and not ended:
                raise GenerationCancelled
        return ended


def _overlap(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop text."""
    longest = min(max(map(len, stops), default=0) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in stops)), 0)
