"""The pictures of docs/inspector.md, of the default Mixtral: python -m tests.browser.screenshots"""

from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from mistral_client import MistralClient, MistralException
from tests.server.process import Process

from .chromium import chromium, dark, resize

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    server = Process("--slots", 2, "--context-length", 2048, "--threads", 1, real=True)
    url = f"http://127.0.0.1:{server.address[1]}"
    try:
        with chromium() as driver:
            resize(driver, 1280, 800)
            driver.get(url)
            wait(driver, "document.querySelector('.state.live')")
            ask(url)
            answer = "[...document.querySelectorAll('.calls a')].find((a) => a.textContent.includes('Camembert'))"
            wait(driver, f"({answer})?.querySelector('.answered')")
            driver.execute_script(f"({answer}).click()")
            wait(driver, "document.querySelectorAll('.answer .token').length > 30")
            driver.execute_script("document.querySelectorAll('.answer .token')[11].click()")
            picture(driver, "light")
            dark(driver)
            driver.execute_script("document.querySelector('#tab-Prompt').click()")
            picture(driver, "dark")
            dark(driver, False)
            driver.execute_script("document.querySelector('#tab-Conversation').click()")
            resize(driver, 390, 780)
            picture(driver, "phone")
    finally:
        server.end()


def ask(url: str) -> None:
    """What some applications ask."""
    with MistralClient(endpoint=url, max_retries=1) as client:
        system = {"role": "system", "content": "You are a friendly guide to French food. Answer in a few sentences."}
        client.embeddings(model="mistral-embed", input=["Brie de Meaux", "Roquefort", "Comté"])
        with contextlib.suppress(MistralException):
            client.chat("mistral-huge", [{"role": "user", "content": "Is there a larger one?"}])
        with contextlib.suppress(MistralException):
            client.chat("mistral-tiny", [{"role": "user", "content": "word " * 3000}])
        client.chat(
            "mistral-small",
            [{"role": "user", "content": "Name a colour as JSON."}],
            response_format={"type": "json_object"},
            max_tokens=40,
        )
        with client.chat_stream("mistral-tiny", [{"role": "user", "content": "Tell me a very long story."}]) as stream:
            for _ in zip(range(30), stream, strict=False):
                pass
        with client.chat_stream(
            "mistral-small",
            [system, {"role": "user", "content": "What is Camembert, and how do I eat it?"}],
            max_tokens=110,
            temperature=0.7,
            random_seed=4,
        ) as stream:
            list(stream)
    httpx.post(
        f"{url}/v1/chat/completions", content=json.dumps({"model": 1}), headers={"content-type": "application/json"}
    )


def wait(driver, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not driver.execute_script(f"return Boolean({what})"):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def picture(driver, name: str) -> None:
    time.sleep(0.5)
    whole = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    # Edges of letters come in thousands of colours. 256 are enough, and surfaces keep theirs exactly.
    pixels = np.asarray(whole)
    colours, where, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    spread = np.reshape(whole.quantize(64, Image.Quantize.MAXCOVERAGE).getpalette(), (-1, 3))
    palette = np.concatenate([colours[np.argsort(counts)[-192:]], spread]).astype(int)
    nearest = np.argmin(((colours[:, None].astype(int) - palette) ** 2).sum(-1), axis=1)
    picture = Image.fromarray(nearest[where].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    file = DOCS / f"inspector-{name}.png"
    picture.save(file, optimize=True)
    print(file.name, f"{file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
