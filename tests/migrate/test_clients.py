"""What programs do with their clients is held against the clients of this package."""

from __future__ import annotations

import pytest

from mistral_client.migrate.examining import examine
from mistral_client.migrate.finding import Kind

EARLY = "from mistralai.client import MistralClient\nfrom mistralai.async_client import MistralAsyncClient\n"
LATER = "from mistralai import Mistral\n"


def findings(source):
    return [(each.line, each.kind, each.message) for each in examine(source.encode()).findings]


OFFICIAL = "it needs the official package: pip install"


@pytest.mark.parametrize(
    "program",
    [
        "MistralClient().files.create(1)",
        "client = MistralClient()\nclient.files.create(1)",
        "client: MistralClient = made()\nclient.files",
        "with MistralClient() as client:\n    client.files",
        "(client := MistralClient()).files",
        "async def f():\n    async with MistralAsyncClient() as c:\n        await c.files.list()",
        "def f(client: MistralClient): client.files",
        "def f(client: MistralClient | None = None): client.files",
        "def f(*, client=MistralClient()): client.files",
        "def f(client=None):\n    client = client or MistralClient()\n    client.files",
        "def make() -> MistralClient: ...\nmake().files",
        "async def make() -> MistralClient: ...\nasync def f(): client = await make(); client.files",
        "class A:\n    def __init__(self): self.c = MistralClient()\n    def f(self): self.c.files",
        "class A:\n    c: MistralClient\n    def f(self): self.c.files",
        "class A:\n    c = None\n    @classmethod\n    def make(cls): cls.c = MistralClient()\n    def f(self): self.c.files",
        "class A:\n    def c(self) -> MistralClient: ...\n    def f(self): self.c().files",
        "a = b = MistralClient()\ndef f(): b.files",
        "a = MistralClient()\nb = a\nb.files",
        "import mistralai.client as m\nm.MistralClient().files",
        "client = MistralClient() if x else MistralAsyncClient()\nclient.files",
    ],
)
def test_a_client_is_found(program):
    ((line, kind, message),) = findings(EARLY + program)
    assert line == (EARLY + program).count("\n", 0, (EARLY + program).index(".files")) + 1
    assert kind is Kind.outside
    assert message in {
        f"{name} has no files here; {OFFICIAL} 'mistralai<1'" for name in ("MistralClient", "MistralAsyncClient")
    }


@pytest.mark.parametrize(
    "program",
    [
        "def f():\n    class MistralClient: ...\n    MistralClient().files",
        "def f(MistralClient): MistralClient().files",
        "client.files\nother(MistralClient).files",
        # Of two kinds, in turns
        "client = MistralClient()\nclient = openai.OpenAI()\nclient.files",
        "class A:\n    def f(self): self.c = MistralClient()\nclass B:\n    def f(self): self.c.files",
    ],
)
def test_what_may_be_anything_is_left_alone(program):
    assert findings(EARLY + program) == []


@pytest.mark.parametrize(
    ("program", "kind", "message"),
    [
        ("MistralClient().jobs.create()", Kind.outside, f"MistralClient has no jobs here; {OFFICIAL} 'mistralai<1'"),
        (
            "MistralClient().chat.complete()",
            Kind.outside,
            f"MistralClient has no chat.complete here; {OFFICIAL} 'mistralai<1'",
        ),
        ("MistralClient()._client.get()", Kind.by_hand, "_client is the client's own; there is none here"),
        (
            "MistralClient().chat(model, messages, None, 0.5)",
            Kind.by_hand,
            "chat takes 2 arguments by position; the others must be named",
        ),
        (
            "MistralClient('key', 'url', 5, 120, 64)",
            Kind.by_hand,
            "MistralClient takes 4 arguments by position; the others must be named",
        ),
        (
            "MistralClient(max_retries=5)",
            Kind.different,
            "max_retries does not count the first request here, as it did in the early client",
        ),
        ("MistralClient(key='x')", Kind.by_hand, "MistralClient has no argument key here"),
    ],
)
def test_the_early_client(program, kind, message):
    assert findings(EARLY + program) == [(3, kind, message)]


@pytest.mark.parametrize(
    "program",
    [
        "MistralClient('key', 'url', 5, 120).chat(messages, model, temperature=0.5, **more)",
        "MistralClient().chat(*everything)",
        "MistralClient().embeddings('mistral-embed', ['a'])",
        "MistralClient().completion('codestral', 'a', 'b', temperature=0).choices[0].nothing",
        "MistralAsyncClient('key', 'url', 5, 120, 64).list_models().data",
        "for chunk in MistralClient().chat_stream(messages=[], model=''): chunk.nothing",
    ],
)
def test_the_early_client_does_this(program):
    assert findings(EARLY + program) == []


@pytest.mark.parametrize(
    "part", ["agents.complete", "beta.conversations.start", "files.upload", "fine_tuning.jobs", "ocr.process"]
)
def test_what_is_outside(part):
    needed = f"Mistral has no {part.partition('.')[0]} here; {OFFICIAL} 'mistralai<2'"
    assert findings(f"{LATER}Mistral(api_key='k').{part}(x=1)") == [(2, Kind.outside, needed)]


@pytest.mark.parametrize(
    "program",
    [
        "Mistral(api_key='k', server_url='u', timeout_ms=1000).chat.complete(model='m', messages=[], temperature=0)",
        "Mistral('k').chat.stream(model='m', messages=[])",
        "async def f(): await Mistral().chat.stream_async(model='m', messages=[])",
        "Mistral().chat.parse(City, model='m', messages=[])",
        "Mistral().fim.complete(model='m', prompt='p')",
        "Mistral().embeddings.create(model='m', inputs=['a']).data[0].embedding",
        "Mistral().models.list().data",
        "async def f():\n    async with Mistral() as m: await m.models.retrieve_async(model_id='m')",
    ],
)
def test_the_later_client_does_this(program):
    assert findings(LATER + program) == []


def test_arguments_that_the_later_client_has_not():
    ((line, kind, message),) = findings(f"{LATER}Mistral(\n    debug_logger=log,\n)")
    assert (line, kind, message) == (3, Kind.by_hand, "Mistral has no argument debug_logger here")


def test_exceptions_of_httpx():
    program = (
        "import httpx\ntry: pass\nexcept (ValueError, httpx.HTTPError): pass\nexcept httpx.TimeoutException: pass\n"
    )
    message = "no exception of httpx leaves a client here: catch MistralException"
    assert findings(LATER + program) == [(4, Kind.different, message), (5, Kind.different, message)]
    assert findings(program + "import openai")[1:] == []
