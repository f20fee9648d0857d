"""The reference server as an ASGI application: routes of Mistral's API over an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from mistral_client._version import __version__
from mistral_client.models.chat_completion import ChatCompletionRequest, ChatCompletionResponse
from mistral_client.models.embeddings import EmbeddingRequest, EmbeddingResponse
from mistral_client.models.fim import FIMCompletionRequest
from mistral_client.models.models import ModelDeleted

from . import errors, openapi
from .admission import WAITING
from .bodies import Bodies
from .chat import Answer, Asked, asked
from .connection import PATIENCE, EventStream, while_connected
from .correlation import Correlation
from .embedding import embed
from .engine import ContextLengthError, EngineError
from .errors import WireError
from .fim import asked_to_fill
from .generation import generating
from .guard import Door, Guard
from .idempotency import Idempotency
from .loading import Loaded, load
from .metrics import CONTENT_TYPE, Observation
from .model import Model
from .rate_limit import RateLimit, spend
from .strict_json import StrictRoute
from .turnstile import Turnstile


def create_app(
    model: str | None = None,
    *,
    context_length: int | None = None,
    slots: int | None = None,
    threads: int | None = None,
    loaded: Loaded | None = None,
    queue: int = WAITING,
    patience: float = PATIENCE,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    guard: Guard | None = None,
    lenient: bool = False,
) -> FastAPI:
    """The application, for any ASGI server that runs its lifespan: the model is loaded and closed with it.

    model: a GGUF file; None for the default Mixtral.
    context_length: tokens for each generation. slots: generations at the same time. threads: of the engine.
    loaded: an engine that is loaded already, in place of all these; it stays open.
    queue: requests that wait for a slot; more are refused. patience: seconds for which a client may not read.
    requests_per_minute, tokens_per_minute: of each key; None is no limit.
    guard: who may come in; None for everybody, and any body.
    lenient: fields that nobody knows are dropped, not refused.

    Raises `EngineError` if nobody here knows how to write a prompt for the loaded model.
    """
    ready = None if loaded is None else Model.of(loaded, queue)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if ready is None:
                options = {"context_length": context_length, "slots": slots, "threads": threads}
                here = await to_thread.run_sync(partial(load, model, **options))
                opened.push_async_callback(to_thread.run_sync, here.engine.close)
                app.state.model = Model.of(here, queue)
            else:
                app.state.model = ready
            yield
            app.state.model = None

    app = FastAPI(
        title="mistral-client reference server",
        version=__version__,
        description="Mistral's API, answered by a local Mixtral.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page takes its scripts from the network
        redoc_url=None,
    )
    app.openapi = openapi.described(app)  # type: ignore[method-assign]
    app.router.route_class = StrictRoute
    app.state.model = None
    app.state.crowded = partial(_crowded, app)
    app.state.patience = patience
    app.state.lenient = lenient
    if requests_per_minute is not None or tokens_per_minute is not None:
        app.add_middleware(RateLimit, requests=requests_per_minute, tokens=tokens_per_minute)
    app.add_middleware(Idempotency, patience=patience)
    if guard is not None:
        app.add_middleware(Bodies, most=guard.max_body)
    app.add_middleware(Turnstile, crowded=app.state.crowded)
    if guard is not None:
        app.add_middleware(Door, guard=guard)
    app.add_middleware(Correlation)
    _add_error_handlers(app)
    _add_routes(app)
    return app


def _crowded(app: FastAPI, key: str) -> WireError | None:
    """Why a client gets no place now; None if it does."""
    model: Model | None = app.state.model
    if model is None:
        return None
    try:
        model.admission.check(key)
    except WireError as error:
        model.metrics.rejected(str(error.body["code"]))
        return error
    return None


async def the_model(request: Request) -> Model:
    """The model that answers. Raises the error for one that is not loaded yet."""
    model: Model | None = request.app.state.model
    if model is None:
        raise errors.not_ready()
    return model


TheModel = Annotated[Model, Depends(the_model)]


def _add_routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health(model: TheModel) -> dict[str, str]:
        """Ready: the model can answer."""
        return {"status": "ok", "model": model.name}

    @app.get("/metrics", response_class=Response)
    async def metrics(model: TheModel) -> Response:
        """What the server measures, for Prometheus."""
        return Response(model.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/v1/models")
    async def list_models(model: TheModel) -> dict[str, Any]:
        """The names by which the model may be called."""
        return model.cards.list()

    @app.get("/v1/models/{model_id:path}")
    async def retrieve_model(model_id: str, model: TheModel) -> dict[str, Any]:
        """The card of one name."""
        card = model.cards.get(model_id)
        if card is None:
            raise errors.no_such_model(model_id)
        return card

    @app.delete("/v1/models/{model_id:path}", response_model=ModelDeleted)
    async def delete_model(model_id: str, model: TheModel) -> Response:
        """Refused: as with Mistral only fine-tuned models can be deleted, and here there are none."""
        raise errors.undeletable(model_id) if model_id in model.cards else errors.no_such_model(model_id)

    @app.post("/v1/chat/completions", response_model=ChatCompletionResponse, tags=["stream"])
    async def chat(body: ChatCompletionRequest, request: Request, model: TheModel) -> Response:
        """The answer to a conversation, whole, or as server-sent events with `stream`."""
        response = await _answered(request, model, body, lambda: asked(body, model.format, model.max_tokens))
        response.headers.update(model.cards.retired(body.model))
        return response

    @app.post("/v1/fim/completions", response_model=ChatCompletionResponse, tags=["stream"])
    async def fim(body: FIMCompletionRequest, request: Request, model: TheModel) -> Response:
        """What stands between a prompt and a suffix, or after a prompt; whole or as events, as in a chat."""
        return await _answered(request, model, body, lambda: asked_to_fill(body, model.engine, model.max_tokens))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(openapi.page(app.openapi()))

    @app.post("/v1/embeddings", response_model=EmbeddingResponse)
    async def embeddings(body: EmbeddingRequest, request: Request, model: TheModel) -> Response:
        """One vector for each text."""
        model.check_name(body.model)

        async def whole() -> EmbeddingResponse:
            answer = await embed(model, body, _client_key(request))
            spend(request.scope, answer.usage.prompt_tokens)
            return answer

        return _whole(await while_connected(request.receive, whole))


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(WireError)
    async def wire_error(request: Request, error: WireError) -> JSONResponse:
        model: Model | None = request.app.state.model
        if model is not None and error.status in {429, 503}:
            model.metrics.rejected(str(error.body["code"]))
        return error.response()

    @app.exception_handler(MemoryError)
    async def memory_error(_request: Request, _error: MemoryError) -> JSONResponse:
        return errors.no_memory().response()

    @app.exception_handler(EngineError)
    async def engine_error(_request: Request, error: EngineError) -> JSONResponse:
        return errors.of_engine(error).response()

    @app.exception_handler(RequestValidationError)
    async def validation_error(_request: Request, error: RequestValidationError) -> Response:
        return errors.validation(error.errors())

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return errors.no_route(request.state.correlation_id)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def _answered(
    request: Request, model: Model, body: ChatCompletionRequest | FIMCompletionRequest, ask: Callable[[], Asked]
) -> Response:
    """What the model generates, whole or in events. `ask` reads the request, in a thread."""
    model.check_name(body.model)
    observation, key = Observation(model.metrics, partial(spend, request.scope)), _client_key(request)
    place = model.admission.enter(key)
    prepared = None
    try:
        prepared = await while_connected(request.receive, partial(_prepared, model, ask))
    finally:
        if prepared is None:
            model.admission.leave(place)
    if prepared is None:
        return _whole(None)
    wanted, prompt = prepared
    spend(request.scope, len(prompt))
    answer = Answer(body.model, wanted)
    generation = generating(
        model.engine, model.admission, prompt, wanted.samplings, place=place, observation=observation
    )
    if body.stream:
        return EventStream(answer, generation, request.app.state.patience)

    async def whole() -> ChatCompletionResponse:
        async with generation as events:
            return await answer.whole(events)

    return _whole(await while_connected(request.receive, whole))


async def _prepared(model: Model, ask: Callable[[], Asked]) -> tuple[Asked, list[int]]:
    """What the engine has to do, and the prompt as tokens."""

    def prepared() -> tuple[Asked, list[int]]:
        wanted = ask()
        return wanted, model.engine.tokenize(wanted.parts)

    wanted, prompt = await to_thread.run_sync(prepared, limiter=model.admission.preparing)
    if len(prompt) >= model.engine.context_length:
        raise ContextLengthError(len(prompt), model.engine.context_length)
    return wanted, prompt


def _client_key(request: Request) -> str:
    """By what this client is told from others; the empty text where no keys are asked for."""
    key: str = getattr(request.state, "client_key", "")
    return key


def _whole(answer: ChatCompletionResponse | EmbeddingResponse | None) -> Response:
    if answer is None:
        return Response(status_code=499)  # nobody is there to read it
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
