"""A conversation: what was said, with which model, and the file that holds it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure
from .whole_file import whole_file

if TYPE_CHECKING:
    from mistral_client.models.chat_completion import ChatMessage


@dataclass
class Conversation:
    """The next question goes to `model`, after `messages`."""

    model: str
    messages: list[ChatMessage]

    def instruct(self, text: str) -> None:
        """Put a system message in the place of the one that there is; of an empty text there will be none."""
        from mistral_client.models.chat_completion import ChatMessage

        told = [ChatMessage(role="system", content=text)] if text else []
        self.messages = told + self._said()

    def clear(self) -> None:
        """Forget what was said, but not the system message."""
        self.messages = self.messages[: len(self.messages) - len(self._said())]

    def _said(self) -> list[ChatMessage]:
        return self.messages[1:] if self.messages and self.messages[0].role == "system" else self.messages

    def save(self, path: str) -> None:
        """Write the file, which only a saved conversation may already be there for. Raises `Failure`."""
        file = Path(os.path.expanduser(path))
        if file.exists():
            _read(file)
        messages = [message.model_dump(mode="json", exclude_unset=True) for message in self.messages]
        text = json.dumps({"model": self.model, "messages": messages}, ensure_ascii=False, indent=2)
        with whole_file(file) as opened:
            opened.write(f"{text}\n".encode())

    @classmethod
    def load(cls, path: str) -> Conversation:
        """What was saved in a file. Raises `Failure`."""
        return _read(Path(os.path.expanduser(path)))


def _read(file: Path) -> Conversation:
    from mistral_client.models.chat_completion import ChatMessage

    try:
        saved = json.loads(file.read_bytes())
        model, messages = saved["model"], [ChatMessage.model_validate(message) for message in saved["messages"]]
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, LookupError, RecursionError):
        raise Failure(f"{file} holds no conversation") from None
    if not isinstance(model, str):
        raise Failure(f"{file} holds no conversation")
    return Conversation(model, messages)
