"""The server that tests talk to: what it answers is scripted, what it was asked is kept."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self, Unpack

from pydantic import ValidationError

from mistral_client.async_client import MistralAsyncClient
from mistral_client.client import MistralClient
from mistral_client.exceptions import ArgumentError
from mistral_client.server import errors
from mistral_client.server.errors import WireError

from .answer import Answer, Break, Head, Steps, UnanswerableError
from .chat import Call, ChatReply, Text, as_tool_calls, as_usage
from .embeddings import EmbeddingsReply, Vector
from .failure import Failure
from .faults import Faults, steps
from .listener import Listener, Received
from .model_list import ModelsReply
from .recording import Recording
from .relay import Relay, Replay
from .request import Request
from .script import Options, Script, When, fits
from .upstream import Upstream

API_KEY = "key-of-a-test"
"""What clients of this server use for a key. It opens nothing."""


class MistralServer:
    """A server of Mistral's API on this machine, for tests: `mistral_server` as a fixture, or a `with` block.

    Replies are given in the order in which they are scripted, each once, and the last one again and again. Those with
    `when` or `model` are for the requests that these fit, and come before the others; each `when` has an order of its
    own. The same reply answers as a stream and as a whole, whatever is asked for. What no reply is scripted for gets an
    error 400, and fails the test.

    Requests that Mistral would refuse, for an unknown field, a value out of range or the order of the messages, get its
    refusal.

    url: of the server, without `/v1`. requests: what it was asked, in the order of arrival.
    record: whether `replay` makes recordings anew. recording: the file that `replay` uses where it is given none.
    environment: what names the endpoint and the key of recordings; else the environment of the process.
    """

    def __init__(
        self, *, record: bool = False, recording: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.requests: list[Request] = []
        self._record = record
        self._default_recording = recording
        self._environment = dict(os.environ if environment is None else environment)
        self._recordings: dict[Path, Recording] = {}
        self._script = Script()
        self._problems: list[str] = []
        self._call_numbers = count(1)
        self._lock = Lock()
        self._closing = ExitStack()
        self._listener = Listener(self._answered)
        self.url = self._listener.url

    # --- what it answers ---

    def reply(
        self,
        text: Text | Callable[[Request], Text] = "",
        *,
        tool_calls: Sequence[Call] = (),
        finish_reason: str | None = None,
        usage: Mapping[str, int] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Answer a chat, or a text with a hole in it.

        text: the answer. A stream has a chunk for each word, or for each piece where it is a list. A function is given
            the request.
        tool_calls: such as `{"name": "get_weather", "arguments": {"city": "Paris"}}`, or as on the wire.
        finish_reason: `stop` or `tool_calls`, where it is not given. usage: words, where they are not given.
        options: `when`, `model`, `times`, and the faults of `Faults`.

        Raises `ArgumentError`.
        """
        calls = as_tool_calls(tool_calls, self._call_numbers)
        self._script.add(ChatReply(text, calls, finish_reason, None if usage is None else as_usage(usage)), options)

    def reply_embeddings(
        self,
        vectors: Sequence[Vector] | Mapping[str, Vector] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Answer a request for embeddings.

        vectors: one for each text, or a dict that has them by their texts. None for vectors of 1,024 numbers and unit
            norm, or as many numbers as are asked for: always the same for the same text, and far from those of others.
        """
        self._script.add(EmbeddingsReply(vectors), options)

    def reply_models(self, models: Sequence[str | Mapping[str, Any]], **options: Unpack[Options]) -> None:
        """Answer questions for models: for all, for one, and its deletion. models: names, or cards as on the wire."""
        self._script.add(ModelsReply(models), options)

    def fail(
        self,
        how: int | Literal["cut", "reset"] = 500,
        *,
        retry_after: float | None = None,
        message: str | None = None,
        type: str | None = None,
        code: str | None = None,
        html: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Answer any request with an error.

        how: a status, with the words that Mistral has for it. `cut` closes the connection without an answer, `reset`
            resets it.
        retry_after: seconds, sent as `Retry-After`. message, type, code: in place of Mistral's.
        html: a page that is sent in place of JSON; with a status of 200 as well.
        """
        self._script.add(Failure(how, retry_after, message, type, code, html), options)

    def relay(self, endpoint: str = "local", *, api_key: str | None = None, **options: Unpack[Options]) -> None:
        """Have a real model answer.

        endpoint: `baby` for a small Mixtral that speaks no language and is loaded in a second, `local` for the default
            one, or what a client takes. The first two need the extra `local`.

        Raises `ConfigurationError`, or `LocalModelError` for a model that is not there.
        """
        self._script.add(Relay(self._upstream(endpoint, api_key)), options)

    def replay(
        self,
        recording: str | Path | None = None,
        *,
        endpoint: str | None = None,
        api_key: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Answer from a recording; with `pytest --mistral-record` from the real endpoint, and record it anew.

        recording: a file; relative to the test's folder. None for one with the test's name in the folder `recordings`
            beside it.
        endpoint, api_key: what is recorded; else what `MISTRAL_ENDPOINT` and `MISTRAL_API_KEY` say, else Mistral's own.

        Raises `ConfigurationError` where there is no recording.
        """
        path = self._recording_path(recording)
        if path not in self._recordings:
            self._recordings[path] = Recording(path) if self._record else Recording.read(path)
        kept = self._recordings[path]
        self._script.add(Relay(self._upstream(endpoint, api_key), kept) if self._record else Replay(kept), options)

    # --- what it was asked ---

    @property
    def last(self) -> Request:
        """The last request. Raises `AssertionError` when there was none."""
        if not self.requests:
            raise AssertionError("the server was asked nothing")
        return self.requests[-1]

    def assert_called(
        self,
        times: int | None = None,
        *,
        path: str | None = None,
        model: str | None = None,
        when: When | None = None,
    ) -> list[Request]:
        """The requests to a path, for a model, or that `when` fits; all without these.

        times: how many there must be; None for at least one. Raises `AssertionError` for another number.
        """
        found = [each for each in self.requests if path in {None, each.path} and fits(each, model, when)]
        if not found if times is None else len(found) != times:
            wanted = "at least 1" if times is None else times
            raise AssertionError(f"{wanted} such requests expected, there were {len(found)} of these:\n{self.log()}")
        return found

    def check(self) -> None:
        """Raises `AssertionError` when a request could not be answered; once for each. The fixture calls it."""
        problems, self._problems = self._problems, []
        if problems:
            raise AssertionError("\n".join(problems))

    def log(self) -> str:
        """A line for each request and its answer."""
        lines = [f"  {each} -> {'no answer' if each.status is None else each.status}" for each in self.requests]
        return "\n".join(lines) or "  no request"

    # --- who asks ---

    def client(self, **options: Any) -> MistralClient:
        """A client of this server, which is closed with it. options: as of `MistralClient`."""
        return self._closing.enter_context(MistralClient(**{"api_key": API_KEY, "endpoint": self.url, **options}))

    def async_client(self, **options: Any) -> MistralAsyncClient:
        """The same for asyncio and trio; use it in an `async with` block, or close it. options: as of
        `MistralAsyncClient`.
        """
        return MistralAsyncClient(**{"api_key": API_KEY, "endpoint": self.url, **options})

    def close(self) -> None:
        """Break all connections, and write what was recorded."""
        self._listener.close()
        if self._record:
            for recording in self._recordings.values():
                recording.save()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self.url!r})"

    def _upstream(self, endpoint: str | None, api_key: str | None) -> Upstream:
        upstream = Upstream(endpoint, api_key, self._environment)
        self._closing.callback(upstream.close)
        return upstream

    def _recording_path(self, recording: str | Path | None) -> Path:
        default = self._default_recording
        if recording is None:
            if default is None:
                raise ArgumentError("recording: the name of a file is needed")
            return default
        return Path(recording) if default is None else default.parent.parent / recording

    def _answered(self, received: Received) -> Steps:
        request = Request(received.method, received.target, received.headers, received.content, time.monotonic())
        answer, faults = self._answer(request)
        try:
            with closing(steps(answer, faults)) as todo:
                for step in todo:
                    if isinstance(step, Head):
                        request.status = step.status
                    yield step
        except Exception as error:  # noqa: BLE001  # whatever it is, the test must hear of it
            self._problems.append(_problem(request, error))
            yield Break.cut

    def _answer(self, request: Request) -> tuple[Answer | Break, Faults]:
        try:
            with self._lock:
                self.requests.append(request)
                scripted = self._script.next(request)
            if scripted is None:
                raise UnanswerableError(f"no reply is scripted for it; scripted are:\n{self._script}")
            return scripted.reply.answer(request), scripted.faults
        except WireError as error:
            return Answer(error.json().encode(), error.status, headers=error.headers or {}), {}
        except ValidationError as error:
            issues = [{**issue, "loc": ("body", *issue["loc"])} for issue in error.errors()]
            return Answer(errors.validation_body(issues), 422), {}
        except Exception as error:  # noqa: BLE001
            problem = _problem(request, error)
            self._problems.append(problem)
            refusal = WireError(400, "unanswerable", None, f"mistral_server: {problem}")
            return Answer(refusal.json().encode(), refusal.status), {}


def _problem(request: Request, error: Exception) -> str:
    told = str(error) if isinstance(error, UnanswerableError) else "".join(traceback.format_exception(error))
    return f"mistral_server could not answer {request}: {told}"
