"""The reference server as an ASGI application: routes of Mistral's API over an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from mistral_client._version import __version__
from mistral_client.models.chat_completion import ChatCompletionRequest, ChatCompletionResponse
from mistral_client.models.embeddings import EmbeddingRequest, EmbeddingResponse

from . import errors
from .chat import Answer, sampling_of, turns_of
from .connection import EventStream, while_connected
from .correlation import Correlation
from .embedding import embed
from .engine import ContextLengthError, EngineError
from .errors import WireError
from .generation import generating
from .loading import Loaded, load
from .model import Model
from .strict_json import StrictRoute


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

    Raises `EngineError` if nobody here knows how to write a prompt for the loaded model.
    """
    ready = None if loaded is None else Model.of(loaded)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if ready is None:
                options = {"context_length": context_length, "slots": slots, "threads": threads}
                here = await to_thread.run_sync(partial(load, model, **options))
                opened.push_async_callback(to_thread.run_sync, here.engine.close)
                app.state.model = Model.of(here)
            else:
                app.state.model = ready
            yield
            app.state.model = None

    app = FastAPI(
        title="mistral-client reference server",
        version=__version__,
        description="Mistral's API, answered by a local Mixtral.",
        lifespan=lifespan,
    )
    app.router.route_class = StrictRoute
    app.state.model = None
    app.add_middleware(Correlation)
    _add_error_handlers(app)
    _add_routes(app)
    return app


def the_model(request: Request) -> Model:
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
        sampling = sampling_of(body, model.max_tokens)
        parts = model.format.parts(turns_of(body))
        prompt = await to_thread.run_sync(model.engine.tokenize, parts)
        if len(prompt) >= model.engine.context_length:
            raise ContextLengthError(len(prompt), model.engine.context_length)
        answer = Answer(body.model)
        generation = generating(model.engine, model.slots, prompt, sampling)
        if body.stream:
            return EventStream(answer, generation)

        async def whole() -> ChatCompletionResponse:
            async with generation as pieces:
                return await answer.whole(pieces)

        return _whole(await while_connected(request.receive, whole))

    @app.post("/v1/embeddings", response_model=EmbeddingResponse)
    async def embeddings(body: EmbeddingRequest, request: Request, model: TheModel) -> Response:
        """One vector for each text."""
        model.check_name(body.model)

        async def whole() -> EmbeddingResponse:
            return await embed(model, body)

        return _whole(await while_connected(request.receive, whole))


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


def _whole(answer: ChatCompletionResponse | EmbeddingResponse | None) -> Response:
    if answer is None:
        return Response(status_code=499)  # nobody is there to read it
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
