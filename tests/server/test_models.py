"""Several models: who has which name, when each is loaded, and who gives way where memory is short."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import pytest

from mistral_client.server.app import create_app
from mistral_client.server.cards import Capabilities
from mistral_client.server.engine import EngineError, MemoryShortError
from mistral_client.server.engines.needs import Needs
from mistral_client.server.errors import WireError
from mistral_client.server.loading import Found, Loaded
from mistral_client.server.models import Models
from tests.server.test_app import EchoEngine, say

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was loaded, in order, and how."""

    engines: list[tuple[str, EchoEngine]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    failures: list[EngineError] = field(default_factory=list)

    def found(self, name, size=100, aliases=None):
        needs = Needs(context_length=600, slots=2, weights=size, cache=0, computation=0)
        return OnShelf(name, f"{name}.", Path(f"{name}.gguf"), needs, None, Capabilities(), None, aliases, shelf=self)

    @property
    def order(self):
        return [name for name, _ in self.engines]

    @property
    def open(self):
        return [name for name, engine in self.engines if not engine.closed]


@dataclass(frozen=True, slots=True)
class OnShelf(Found):
    shelf: Shelf = None

    def load(self):
        self.shelf.gate.wait(10)
        if self.shelf.failures:
            raise self.shelf.failures.pop()
        engine = EchoEngine()
        self.shelf.engines.append((self.name, engine))
        return Loaded(self.name, self.description, engine)


@pytest.fixture
def shelf():
    shelf = Shelf()
    shelf.gate.set()
    return shelf


async def used(models, name):
    async with models.use(models.offered(name)) as model:
        return model.name


def names(models):
    return {card["id"]: card["root"] or card["id"] for card in models.cards()}


def test_names(shelf):
    models = Models([shelf.found("one"), shelf.found("two", aliases=("mistral-embed", "second"))])
    led = names(models)
    assert (led["one"], led["two"], led["second"], led["mistral-embed"]) == ("one", "two", "two", "two")
    assert led["mistral-small"] == led["open-mixtral-8x7b"] == "one"
    assert models.card("second")["description"] == "two."
    assert models.card("third") is None
    with pytest.raises(WireError, match="Invalid model: third"):
        models.offered("third")


def test_a_first_model_with_aliases_of_its_own_has_no_others(shelf):
    assert set(names(Models([shelf.found("one", aliases=("only",)), shelf.found("two")]))) == {"one", "only", "two"}


@pytest.mark.parametrize("aliases", [("one",), ("two",), ("x", "x")])
def test_no_name_leads_to_two_models(shelf, aliases):
    with pytest.raises(EngineError, match=r"two models are called (one|two|x)\b"):
        Models([shelf.found("one"), shelf.found("two", aliases=aliases)])


async def test_a_model_is_loaded_once_when_it_is_first_used(shelf):
    shelf.gate.clear()
    models = Models([shelf.found("one"), shelf.found("two")])
    assert models.loaded == []
    async with anyio.create_task_group() as tasks:
        for name in ("two", "mistral-small", "two", "one"):
            tasks.start_soon(used, models, name)
        await anyio.wait_all_tasks_blocked()
        shelf.gate.set()
    assert sorted(shelf.order) == ["one", "two"]
    assert models.loaded == ["one", "two"]
    models.close()
    assert shelf.open == []


async def test_where_memory_is_short_the_least_recently_used_gives_way(shelf):
    models = Models([shelf.found(name) for name in ("a", "b", "c")], memory_limit=250)
    for name in ("a", "b", "a", "c"):
        await used(models, name)
    assert shelf.open == models.loaded == ["a", "c"]
    await used(models, "b")
    assert sorted(shelf.open) == models.loaded == ["b", "c"]
    assert shelf.order == ["a", "b", "c", "b"]
    models.close()


async def test_what_is_in_use_is_unloaded_when_it_has_ended(shelf):
    models = Models([shelf.found("a"), shelf.found("b")], memory_limit=150)
    done = []

    async def use(name):
        done.append(await used(models, name))

    async with anyio.create_task_group() as tasks, models.use(models.offered("a")):
        tasks.start_soon(use, "b")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(use, "a")  # after b: not let in while others wait for it to go
        await anyio.wait_all_tasks_blocked()
        assert (done, shelf.open) == ([], ["a"])
    assert done == ["b", "a"]
    assert shelf.order == ["a", "b", "a"]
    models.close()


async def test_who_gives_up_waiting_leaves_the_model_where_it_is(shelf):
    models = Models([shelf.found("a"), shelf.found("b")], memory_limit=150)
    async with models.use(models.offered("a")):
        with anyio.move_on_after(0.05):
            await used(models, "b")
        assert await used(models, "a") == "a"
    assert shelf.order == ["a"]
    models.close()


def test_what_can_never_fit_is_refused_with_both_figures(shelf):
    with pytest.raises(MemoryShortError, match=r"big needs 3\.0 GB of memory and there are 2\.0 GB for it"):
        Models([shelf.found("small"), shelf.found("big", 3 * 10**9)], memory_limit=2 * 10**9)


async def test_what_does_not_fit_now_is_a_503_with_both_figures(shelf):
    models = Models([Loaded("here", "", EchoEngine()), shelf.found("big", 10**15)])
    app = create_app(models=models)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http,
    ):
        for path, body in (("chat/completions", {"messages": say("hi")}), ("embeddings", {"input": "hi"})):
            answer = await http.post(f"/v1/{path}", json={"model": "big", **body})
            assert (answer.status_code, answer.json()["code"]) == (503, "1100")
            assert "big needs 1000000.0 GB of memory and there are " in answer.json()["message"]
        answer = await http.post("/v1/chat/completions", json={"model": "here", "messages": say("hi")})
        assert answer.json()["choices"][0]["message"]["content"] == "hi "
    assert models.loaded == ["here"]


async def test_a_model_that_fails_to_load_is_tried_again(shelf):
    shelf.failures.append(EngineError("no such tensor"))
    models = Models([shelf.found("a"), shelf.found("b")])
    with pytest.raises(EngineError, match="no such tensor"):
        await used(models, "a")
    assert await used(models, "a") == "a"
    models.close()


async def test_a_server_that_ends_keeps_nothing_open(shelf):
    shelf.gate.clear()
    models = Models([shelf.found("a"), shelf.found("b")])
    refused = []

    async def use():
        try:
            await used(models, "a")
        except WireError as error:
            refused.append(error.status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        await anyio.wait_all_tasks_blocked()
        models.refuse()
        shelf.gate.set()
    models.close()
    assert (refused, shelf.open) == ([503], [])


async def test_an_answer_keeps_its_model_until_it_is_sent(shelf):
    models = Models([shelf.found("a"), shelf.found("b")], memory_limit=150)
    app = create_app(models=models)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http,
    ):
        answers = {}

        async def ask(number):
            body = {"model": "ab"[number % 2], "messages": say(f"one two {number}"), "stream": number % 3 == 0}
            answers[number] = await http.post("/v1/chat/completions", json=body)

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(ask, number)
        for number, answer in answers.items():
            assert answer.status_code == 200
            assert str(number) in answer.text
        assert (await http.get("/health")).json()["loaded"] == models.loaded
        metrics = (await http.get("/metrics")).text
        assert 'vllm:prompt_tokens_total{model_name="a"}' in metrics
        assert 'vllm:prompt_tokens_total{model_name="b"}' in metrics
    models.close()
    assert shelf.open == []


async def test_a_refusal_leaves_nothing_for_the_garbage_collector():
    models = Models([Loaded("echo", "", EchoEngine())])
    models.refuse()
    gc.disable()
    try:
        refusal = weakref.ref(models.crowded(""))
        assert refusal() is None
    finally:
        gc.enable()
