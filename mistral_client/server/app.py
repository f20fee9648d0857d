"""The reference server as an ASGI application: routes of Mistral's API over an engine."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from anyio import to_thread
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistral_client._version import __version__
from mistral_client.models.chat_completion import ChatCompletionRequest, ChatCompletionResponse
from mistral_client.models.common import UsageInfo
from mistral_client.models.embeddings import EmbeddingObject, EmbeddingRequest, EmbeddingResponse

from . import embedding, errors
from .cards import Cards
from .chat import Answer, sampling_of, turns_of
from .engine import ContextLengthError, Engine, EngineError
from .errors import WireError
from .generation import generating
from .loading import Loaded, load
from .prompt import PromptFormat, prompt_format

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what the routes need to use it."""

    name: str
    engine: Engine
    format: PromptFormat
    cards: Cards
    slots: anyio.CapacityLimiter

    @classmethod
    def of(cls, loaded: Loaded) -> Model:
        """Raises `EngineError` if nobody here knows how to write a prompt for this model."""
        engine = loaded.engine
        return cls(
            loaded.name,
            engine,
            prompt_format(engine.chat_template, engine.token_id),
            Cards(loaded.name, loaded.description, engine.context_length),
            anyio.CapacityLimiter(engine.slots),
        )

    def check_name(self, name: str) -> None:
        """Raises the API's error for a model that is not here."""
        if name not in self.cards:
            raise errors.invalid_model(name)


def create_app(
    model: str | None = None,
    *,
    context_length: int | None = None,
    slots: int | None = None,
    threads: int | None = None,
    loaded: Loaded | None = None,
) -> FastAPI:
    """The application, for any ASGI server that runs its lifespan: the model is loaded and closed with it.

    model: a GGUF file; None for the default Mixtral.
    context_length: tokens for each generation. slots: generations at the same time. threads: of the engine.
    loaded: an engine that is loaded already, in place of all these; it stays open.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if loaded is None:
                options = {"context_length": context_length, "slots": slots, "threads": threads}
                here = await to_thread.run_sync(partial(load, model, **options))
                opened.push_async_callback(to_thread.run_sync, here.engine.close)
            else:
                here = loaded
            app.state.model = Model.of(here)
            yield
            app.state.model = None

    app = FastAPI(
        title="mistral-client reference server",
        version=__version__,
        description="Mistral's API, answered by a local Mixtral.",
        lifespan=lifespan,
    )
    app.router.route_class = _StrictRoute
    app.state.model = None
    app.add_middleware(_Correlation)
    _add_error_handlers(app)
    _add_routes(app)
    return app


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body, if it is JSON to the letter: no NaN, no half of a surrogate pair, no nesting without end."""
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(400, f"The body is not JSON: {error}") from None


class _StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


def _model(request: Request) -> Model:
    model: Model | None = request.app.state.model
    if model is None:
        raise errors.not_ready()
    return model


TheModel = Annotated[Model, Depends(_model)]


def _add_routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health(model: TheModel) -> dict[str, str]:
        """Ready: the model can answer."""
        return {"status": "ok", "model": model.name}

    @app.get("/v1/models")
    async def list_models(model: TheModel) -> dict[str, Any]:
        """The names by which the model may be called."""
        return model.cards.list()

    @app.get("/v1/models/{model_id:path}")
    async def retrieve_model(model_id: str, model: TheModel) -> dict[str, Any]:
        """The card of one name."""
        card = model.cards.get(model_id)
        if card is None:
            raise WireError(404, "invalid_model", "1500", f"Invalid model: {model_id}")
        return card

    @app.post("/v1/chat/completions", response_model=ChatCompletionResponse)
    async def chat(body: ChatCompletionRequest, request: Request, model: TheModel) -> Response:
        """The answer to a conversation, whole, or as server-sent events with `stream`."""
        model.check_name(body.model)
        sampling = sampling_of(body)
        parts = model.format.parts(turns_of(body))
        prompt = await to_thread.run_sync(model.engine.tokenize, parts)
        if len(prompt) >= model.engine.context_length:
            raise ContextLengthError(len(prompt), model.engine.context_length)
        answer = Answer(body.model)
        generation = generating(model.engine, model.slots, prompt, sampling)
        if body.stream:
            return _EventStream(answer, generation)

        async def whole() -> ChatCompletionResponse:
            async with generation as pieces:
                return await answer.whole(pieces)

        return _json(await _while_connected(request.receive, whole))

    @app.post("/v1/embeddings", response_model=EmbeddingResponse)
    async def embeddings(body: EmbeddingRequest, request: Request, model: TheModel) -> Response:
        """One vector for each text."""
        model.check_name(body.model)

        async def whole() -> EmbeddingResponse:
            return await _embed(model, body)

        return _json(await _while_connected(request.receive, whole))


async def _embed(model: Model, body: EmbeddingRequest) -> EmbeddingResponse:
    if body.output_dimension not in {None, embedding.DIMENSIONS}:
        raise errors.not_supported("output_dimension", f"output_dimension={body.output_dimension}")
    if body.output_dtype not in {None, "float"}:
        raise errors.not_supported("output_dtype", f"output_dtype={body.output_dtype!r}")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > embedding.MAX_INPUTS:
        raise errors.too_much_input("Too many inputs in request, split into more batches.")
    prompts = await to_thread.run_sync(lambda: [model.engine.tokenize([text]) for text in texts])
    counted = sum(map(len, prompts))
    if counted > embedding.MAX_TOKENS:
        raise errors.too_much_input("Too many tokens overall, split into more batches.")
    for position, prompt in enumerate(prompts):
        if not prompt:
            raise errors.not_supported(f"input.{position}", "an empty text")
    vectors = await to_thread.run_sync(model.engine.embed, prompts, limiter=model.slots) if prompts else []
    written = embedding.as_base64 if body.encoding_format == "base64" else (lambda row: row.tolist())
    return EmbeddingResponse(
        id=uuid.uuid4().hex,
        object="list",
        data=[
            EmbeddingObject(object="embedding", embedding=written(row), index=index)
            for index, row in enumerate(embedding.fitted(vectors) if vectors else ())
        ],
        model=body.model,
        usage=UsageInfo(prompt_tokens=counted, total_tokens=counted, completion_tokens=0),
    )


# --- answers, and who is still there to read them ---


class _EventStream(Response):
    """Sends events as they are generated; a client that leaves ends the generation."""

    media_type = "text/event-stream"

    def __init__(self, answer: Answer, generation: Any) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._answer = answer
        self._generation = generation

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            started = False
            async with self._generation as pieces, aclosing(self._answer.events(pieces)) as events:
                async for event in events:
                    if not started:
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                        started = True
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        await _while_connected(receive, run)


async def _while_connected(receive: Receive, work: Callable[[], Awaitable[ResultT]]) -> ResultT | None:
    """Does the work, but no longer than the client is there; None if it left before the end."""
    result: ResultT | None = None
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001, raised again below: here it would come out in a group
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
    return result


def _json(answer: ChatCompletionResponse | EmbeddingResponse | None) -> Response:
    if answer is None:
        return Response(status_code=499)  # nobody is there to read it
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


# --- errors and the id of every exchange ---


class _Correlation:
    """Names every exchange in a header, and turns what nobody expected into a 500 that gives nothing away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation = str(uuid.uuid4())
        scope.setdefault("state", {})["correlation_id"] = correlation
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"mistral-correlation-id", correlation.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            logger.exception("request %s failed", correlation)
            if started:
                raise
            await errors.internal().response()(scope, receive, named)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(WireError)
    async def wire_error(_request: Request, error: WireError) -> JSONResponse:
        return error.response()

    @app.exception_handler(EngineError)
    async def engine_error(_request: Request, error: EngineError) -> JSONResponse:
        return errors.of_engine(error).response()

    @app.exception_handler(RequestValidationError)
    async def validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
        return errors.validation(error.errors())

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return errors.no_route(request.state.correlation_id)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
