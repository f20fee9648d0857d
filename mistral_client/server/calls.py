"""Tool calls in the text of an answer: told apart from other text as it comes, and read once it is whole."""

from __future__ import annotations

import json
import secrets
import string

from mistral_client.models.chat_completion import FunctionCall, ToolCall

_LETTERS = string.ascii_letters + string.digits


class AnswerReader:
    """Takes the text of one answer. Text goes on as it comes; calls, which begin with `mark`, are kept to the end.

    mark: None where no call can come.
    """

    def __init__(self, mark: str | None) -> None:
        self._mark = mark
        self._held = ""
        self._calling = False

    def feed(self, text: str) -> str:
        """What is certainly no call, of this text and of what was held back."""
        if self._mark is None:
            return text
        self._held += text
        if self._calling or self._held.startswith(self._mark):
            self._calling = True
            return ""
        if self._mark.startswith(self._held):
            return ""
        self._mark = None
        held, self._held = self._held, ""
        return held

    def end(self) -> tuple[str, list[ToolCall]]:
        """At the end of the answer: the text that is left, and the calls.

        An answer that was cut in the middle of its calls has none; what there is of them is text.
        """
        if not self._calling or self._mark is None:
            return self._held, []
        try:
            calls = json.loads(self._held[len(self._mark) :])
        except ValueError:
            return self._held, []
        return "", [
            ToolCall(
                id="".join(secrets.choice(_LETTERS) for _ in range(9)),
                function=FunctionCall(name=call["name"], arguments=json.dumps(call["arguments"], ensure_ascii=False)),
                index=index,
            )
            for index, call in enumerate(calls)
        ]
