"""The inspector's page as a test sees it."""

from __future__ import annotations

import json
import time
from typing import Any

from mistral_client import MistralClient


class Page:
    """An open page, and the server that it belongs to."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def client(self, **options: Any) -> MistralClient:
        return MistralClient(endpoint=self.url, **options)

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """Of all elements that are seen."""
        script = "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).map((e) => e.innerText)"
        return self.run(script, selector)

    def text(self, selector: str) -> str:
        return "\n".join(self.texts(selector))

    def wait_for(self, selector: str, words: str = "", seconds: float = 60) -> None:
        """Until an element is seen that holds these words."""
        deadline = time.monotonic() + seconds
        while not any(words in text for text in self.texts(selector)):
            assert time.monotonic() < deadline, f"{selector} with {words!r} in {self.text('body')}"
            time.sleep(0.05)

    def click(self, selector: str, words: str = "") -> None:
        """The first element that holds these words, when it is there."""
        self.wait_for(selector, words)
        script = (
            "[...document.querySelectorAll(arguments[0])]"
            ".find((e) => e.checkVisibility() && e.innerText.includes(arguments[1])).click()"
        )
        self.run(script, selector, words)

    def write(self, selector: str, value: str) -> None:
        """Into a field, as a user does who replaces what is there."""
        script = "const e = document.querySelector(arguments[0]); e.focus(); e.select(); "
        self.run(script + "document.execCommand('insertText', false, arguments[1])", selector, value)

    def press(self, key: str) -> None:
        """A key, wherever the focus is."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}.get(key, 0)
            self.driver.execute_cdp_cmd(
                "Input.dispatchKeyEvent", {"type": kind, "key": key, "windowsVirtualKeyCode": code, **text}
            )

    def clear(self) -> None:
        self.click("#clear")
        self.wait_for("#empty")

    def copied(self, button: str) -> str:
        """What a click on a button puts into the clipboard."""
        self.run("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
        self.click(".copies button", button)
        self.wait_for(".copies button", "Copied")
        return self.run("return window.copied")

    def colour(self, selector: str, of: str = "backgroundColor") -> str:
        return self.run(f"return getComputedStyle(document.querySelector({json.dumps(selector)})).{of}")
