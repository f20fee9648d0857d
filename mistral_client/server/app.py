"""The reference server as an ASGI application: routes of Mistral's API over an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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
from .catalogue import Catalogue
from .chat import Answer, Asked, asked
from .connection import PATIENCE, EventStream, while_connected
from .correlation import Correlation
from .embedding import embed
from .engine import ContextLengthError, EngineError, Sampling, UnsupportedError
from .errors import WireError
from .fim import asked_to_fill
from .generation import generating
from .guard import Door, Guard
from .held import Held, hold
from .idempotency import Idempotency
from .inspector import Inspector
from .inspector.recorder import Recorder, call_of
from .inspector.routes import routes
from .loading import ModelSpec, load
from .metrics import CONTENT_TYPE, Observation
from .model import Model
from .models import Models
from .prompt import PromptFormat
from .rate_limit import RateLimit, spend
from .strict_json import StrictRoute
from .turnstile import Turnstile


def create_app(
    model: str | None = None,
    *,
    context_length: int | None = None,
    slots: int | None = None,
    threads: int | None = None,
    models: Catalogue[Any] | None = None,
    add_calls: Callable[[FastAPI], None] | None = None,
    queue: int = WAITING,
    patience: float = PATIENCE,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    guard: Guard | None = None,
    lenient: bool = False,
    inspector: Inspector | None = None,
) -> FastAPI:
    """The application, for any ASGI server that runs its lifespan: the model is loaded and closed with it.

    model: a GGUF file, `hf:OWNER/REPO[:FILE]`, or None for the default Mixtral.
    context_length: tokens for each generation. slots: generations at the same time. threads: of the engine.
    models: in place of all these, and of `queue`; those of them that are loaded when the application ends stay so.
    add_calls: adds the routes that models answer, other than those of models that run here.
    queue: requests that wait for a slot; more are refused. patience: seconds for which a client may not read.
    requests_per_minute, tokens_per_minute: of each key; None is no limit.
    guard: who may come in; None for everybody, and any body.
    lenient: fields that nobody knows are dropped, not refused.
    inspector: keeps the last calls and shows them on a page at `/`, to this machine only. `guard` has to let its page
    pass without a key.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if models is None:
                spec = ModelSpec(model, context_length=context_length, slots=slots, threads=threads)
                here = await to_thread.run_sync(load, spec)
                opened.push_async_callback(to_thread.run_sync, here.engine.close)
                app.state.models = Models([here], queue=queue)
            else:
                app.state.models = models
            await opened.enter_async_context(app.state.models.at_work())
            yield
            app.state.models = None

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
    app.state.models = None
    app.state.crowded = partial(_crowded, app)
    app.state.patience = patience
    app.state.lenient = lenient
    app.add_middleware(Held)
    if requests_per_minute is not None or tokens_per_minute is not None:
        app.add_middleware(RateLimit, requests=requests_per_minute, tokens=tokens_per_minute)
    app.add_middleware(Idempotency, patience=patience)
    if guard is not None:
        app.add_middleware(Bodies, most=guard.max_body)
    app.add_middleware(Turnstile, crowded=app.state.crowded)
    if guard is not None:
        app.add_middleware(Door, guard=guard)
    if inspector is not None:
        app.add_middleware(Recorder, inspector=inspector)
    app.add_middleware(Correlation)
    _add_error_handlers(app)
    _add_routes(app)
    (add_calls or _add_calls)(app)
    if inspector is not None:
        app.include_router(routes(inspector))
    return app


def _crowded(app: FastAPI, key: str) -> WireError | None:
    """Why a client gets no place now, whatever model it asks for; None if it may."""
    models: Catalogue[Any] | None = app.state.models
    return None if models is None else models.crowded(key)


async def the_models(request: Request) -> Any:
    """The models that answer. Raises the error for a server that is not ready yet."""
    models: Catalogue[Any] | None = request.app.state.models
    if models is None:
        raise errors.not_ready()
    return models


TheCatalogue = Annotated[Catalogue[Any], Depends(the_models)]
TheModels = Annotated[Models, Depends(the_models)]


def _add_routes(app: FastAPI) -> None:
    @app.get("/health")
    async def health(models: TheCatalogue) -> dict[str, Any]:
        """Ready: the models can answer. Which of them are loaded."""
        return {"status": "ok", "model": models.name, "loaded": models.loaded}

    @app.get("/metrics", response_class=Response)
    async def metrics(models: TheCatalogue) -> Response:
        """What the server measures, for Prometheus."""
        return Response(models.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/v1/models")
    async def list_models(models: TheCatalogue) -> dict[str, Any]:
        """The names by which the models may be called."""
        return {"object": "list", "data": models.cards()}

    @app.get("/v1/models/{model_id:path}")
    async def retrieve_model(model_id: str, models: TheCatalogue) -> dict[str, Any]:
        """The card of one name."""
        card = models.card(model_id)
        if card is None:
            raise errors.no_such_model(model_id)
        return card

    @app.delete("/v1/models/{model_id:path}", response_model=ModelDeleted)
    async def delete_model(model_id: str, models: TheCatalogue) -> Response:
        """Refused: as with Mistral only fine-tuned models can be deleted, and here there are none."""
        raise errors.no_such_model(model_id) if models.card(model_id) is None else errors.undeletable(model_id)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(openapi.page(app.openapi()))


def _add_calls(app: FastAPI) -> None:
    @app.post("/v1/chat/completions", response_model=ChatCompletionResponse, tags=["stream"])
    async def chat(body: ChatCompletionRequest, request: Request, models: TheModels) -> Response:
        """The answer to a conversation, whole, or as server-sent events with `stream`."""
        return await _answered(request, models, body, lambda model: asked(body, _format(model), model.max_tokens))

    @app.post("/v1/fim/completions", response_model=ChatCompletionResponse, tags=["stream"])
    async def fim(body: FIMCompletionRequest, request: Request, models: TheModels) -> Response:
        """What stands between a prompt and a suffix, or after a prompt; whole or as events, as in a chat."""
        return await _answered(request, models, body, lambda model: asked_to_fill(body, model.engine, model.max_tokens))

    @app.post("/v1/embeddings", response_model=EmbeddingResponse)
    async def embeddings(body: EmbeddingRequest, request: Request, models: TheModels) -> Response:
        """One vector for each text."""
        request.state.model = body.model
        offered = models.offered(body.model)

        async def whole() -> EmbeddingResponse:
            with offered.admission.place(client_key(request)) as place:
                return await embed(await hold(request, models.use(offered)), body, place, call_of(request))

        answer = await while_connected(request.receive, whole)
        if answer is not None:
            spend(request.scope, answer.usage.prompt_tokens)
        return whole_answer(answer)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(WireError)
    async def wire_error(request: Request, error: WireError) -> JSONResponse:
        models: Catalogue[Any] | None = request.app.state.models
        if models is not None and error.status in {429, 503}:
            models.rejected(getattr(request.state, "model", None), error)
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
    request: Request,
    models: Models,
    body: ChatCompletionRequest | FIMCompletionRequest,
    ask: Callable[[Model], Asked],
) -> Response:
    """What the model generates, whole or in events. `ask` reads the request, in a thread."""
    request.state.model = body.model
    offered = models.offered(body.model)
    call = call_of(request)
    observation = Observation(offered.metrics, partial(spend, request.scope), call)
    place = offered.admission.enter(client_key(request))
    prepared = None

    async def prepare() -> tuple[Model, Asked, list[int]]:
        model = await hold(request, models.use(offered))
        return model, *await _prepared(model, ask)

    try:
        prepared = await while_connected(request.receive, prepare)
    finally:
        if prepared is None:
            offered.admission.leave(place)
    if prepared is None:
        return whole_answer(None)
    model, wanted, prompt = prepared
    spend(request.scope, len(prompt))
    answer = Answer(body.model, wanted)
    samplings: Sequence[Sampling] = wanted.samplings
    if call is not None:
        call.ready(body.model, len(prompt), prompt)
        samplings = call.watch(samplings)
    generation = generating(model.engine, model.admission, prompt, samplings, place=place, observation=observation)
    if body.stream:
        response: Response = EventStream(answer, generation, request.app.state.patience)
    else:

        async def whole() -> ChatCompletionResponse:
            async with generation as events:
                return await answer.whole(events)

        response = whole_answer(await while_connected(request.receive, whole))
    response.headers.update(offered.cards.retired(body.model))
    return response


def _format(model: Model) -> PromptFormat:
    """How the model wants a conversation. Raises `UnsupportedError` for one that writes no text."""
    if model.format is None:
        raise UnsupportedError(f"{model.name} is made for embeddings and writes no text")
    return model.format


async def _prepared(model: Model, ask: Callable[[Model], Asked]) -> tuple[Asked, list[int]]:
    """What the engine has to do, and the prompt as tokens."""

    def prepared() -> tuple[Asked, list[int]]:
        wanted = ask(model)
        return wanted, model.engine.tokenize(wanted.parts)

    wanted, prompt = await to_thread.run_sync(prepared, limiter=model.admission.preparing)
    if len(prompt) >= model.engine.context_length:
        raise ContextLengthError(len(prompt), model.engine.context_length)
    return wanted, prompt


def client_key(request: Request) -> str:
    """By what this client is told from others; the empty text where no keys are asked for."""
    key: str = getattr(request.state, "client_key", "")
    return key


def whole_answer(answer: ChatCompletionResponse | EmbeddingResponse | None) -> Response:
    if answer is None:
        return Response(status_code=499)  # nobody is there to read it
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
