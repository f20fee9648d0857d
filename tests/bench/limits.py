"""Why a goal is not met, and which table of docs/performance.md shows it."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """title: of its paragraph in docs/performance.md."""

    title: str
    why: str

    def __str__(self) -> str:
        return f"- **{self.title}.** {self.why}"


IMPORTING = Limit(
    "Importing",
    "`import httpx, pydantic` is not what a client needs: pydantic puts itself off until its first name is used, and "
    "httpx until its first client is built. [Library by library](#importing-library-by-library) our client stands beside "
    "a process with one `httpx.Client` and one pydantic model, and beside mistralai. What all three have in common, from "
    "the interpreter to pydantic, is alone more than a third of mistralai's time. Our own share are the last rows. "
    "Building the types when they are first used took 7 % off and put it on the first call, so they are built at once.",
)
MEMORY = Limit(
    "Memory of one client",
    "[The same table](#importing-library-by-library): an `httpx.Client` without any model has no pydantic, and that is "
    "most of the difference. What is added by each further client is smaller than a client of raw httpx by twenty times.",
)
OVER_AIOHTTP = Limit(
    "Aiohttp's speed over aiohttp",
    "[The layers between](#a-call-over-aiohttp-layer-by-layer): httpx's request and response, and the transport that "
    "translates them, alone take more than the goal leaves for all.",
)
_STAGES = (
    "[Stage by stage](#a-chunk-of-a-stream-stage-by-stage), HTTP and pydantic take half of a chunk's time, and no stage "
    "has much to give."
)
SIXTIETH = Limit("A sixtieth of mistralai 3.7 for a chunk", _STAGES)
TWELFTH = Limit("A twelfth of openai for a chunk", _STAGES)
THEIR_SERVER = Limit(
    "The speed of llama.cpp's own server",
    "Each token goes through a callback into Python, for which `xllamacpp` makes a dict of llama.cpp's JSON, and from "
    "there through the application to a socket. That is time of a processor that computes as well: see [the way of a "
    "token](#the-way-of-a-token). Little of it is left to save: sampled by py-spy, with an engine that has its words ready, "
    "the event loop spends a third of its time in writing to the socket and a fifth in being woken.",
)
FIRST_TOKEN = Limit(
    "The first token",
    "It comes within some tens of milliseconds of llama.cpp's, before it in one run and after it in the next: both read "
    "the same prompt with the same code, [some 240 tokens a second](#reading-by-the-size-of-the-batch).",
)
OWN_SPEED = Limit(
    "Half as fast again",
    "Measured in the same run, the layout is 1.2 times as fast as the one before. More of the weights in Q4_0 would be "
    "faster, for a perplexity that is too high: 3 % more for the up projections (in IQ4_NL 3.5 %), 6 % for attention, 20 % "
    "for all of them, for they have been rounded to four bits before. "
    "[By its parts](#time-by-parts-of-the-model), the experts in use are about half of a token's time.",
)
BATCHES = Limit(
    "Batches of embeddings",
    "Reading texts is arithmetic, and [the size of the batch](#reading-by-the-size-of-the-batch) matters little from some "
    "fifty tokens on: sixteen texts of twelve tokens, read four at once, took 0.92 s, and 1.25 s one by one. Only texts of "
    "one length are read at once: of others llama.cpp would read the longer ones' ends by themselves, and take the mean "
    "over those alone.",
)
