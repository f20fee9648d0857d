"""The routes that other servers answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from numpy.typing import NDArray

from mistral_client.async_client import AsyncChatStream
from mistral_client.exceptions import ProtocolError
from mistral_client.models.chat_completion import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
)
from mistral_client.models.embeddings import EmbeddingRequest, EmbeddingResponse
from mistral_client.models.fim import FIMCompletionRequest

from .. import errors
from ..app import client_key, the_models, whole_answer
from ..connection import EventStream, while_connected
from ..embedding import answered
from ..inspector.recorder import call_of
from ..metrics import Observation
from ..rate_limit import spend
from .answer import Answer
from .request import prefix_of, request_of
from .upstreams import Asked, Upstream, Upstreams

TheUpstreams = Annotated[Upstreams, Depends(the_models)]


def add_calls(app: FastAPI) -> None:
    """Chat and embeddings, answered by `Upstreams`."""

    @app.post("/v1/chat/completions", response_model=ChatCompletionResponse, tags=["stream"])
    async def chat(body: ChatCompletionRequest, request: Request, upstreams: TheUpstreams) -> Response:
        """The answer to a conversation, whole, or as server-sent events with `stream`."""
        return await _answered(request, upstreams, body)

    @app.post("/v1/fim/completions", response_model=ChatCompletionResponse, tags=["stream"])
    async def fim(body: FIMCompletionRequest, upstreams: TheUpstreams) -> Response:
        """Refused: servers of OpenAI's wire do not fill in the middle of a text."""
        upstreams.offered(body.model)
        raise errors.not_supported("suffix", "filling in the middle")

    @app.post("/v1/embeddings", response_model=EmbeddingResponse)
    async def embed(body: EmbeddingRequest, request: Request, upstreams: TheUpstreams) -> Response:
        """One vector for each text."""
        request.state.model = body.model
        offered = upstreams.offered(body.model)

        sent = {} if body.output_dimension is None else {"dimensions": body.output_dimension}
        texts = 1 if isinstance(body.input, str) else len(body.input)

        async def ask(upstream: Upstream) -> tuple[NDArray[Any], int]:
            given = await upstream.client.embeddings(offered.name, body.input, extra_body=sent)
            if len(given.data) != texts:
                raise ProtocolError(f"{len(given.data)} vectors for {texts} texts")
            try:
                return given.to_numpy(), given.usage.prompt_tokens
            except ValueError as error:
                raise ProtocolError(f"no vectors: {error}") from None

        async def whole() -> EmbeddingResponse:
            with offered.admission.place(client_key(request)) as place:
                async with offered.admission.slot(place), upstreams.asking(offered, ask) as asked:
                    return answered(body, *asked.result)  # number types are made of the floats here

        answer = await while_connected(request.receive, whole)
        if answer is not None:
            spend(request.scope, answer.usage.prompt_tokens)
            if (call := call_of(request)) is not None:
                call.prompt_tokens = answer.usage.prompt_tokens
        return whole_answer(answer)


async def _answered(request: Request, upstreams: Upstreams, body: ChatCompletionRequest) -> Response:
    request.state.model = body.model
    offered = upstreams.offered(body.model)
    call = call_of(request)
    if call is not None:
        call.ready(body.model, 0)
    observation = Observation(offered.metrics, partial(spend, request.scope), call)
    answer = Answer(body, observation)

    def arguments(upstream: Upstream) -> dict[str, Any]:
        dialect = upstream.dialect(offered.name)
        # The body as a whole is another one; the arguments are there for the client's own check.
        sent = request_of(body, offered.name, dialect)
        answer.prefix = "" if dialect.repeats else prefix_of(body)
        return {"messages": body.messages, "model": offered.name, "extra_body": sent}

    @asynccontextmanager
    async def generation() -> AsyncIterator[Asked[AsyncChatStream[ChatCompletionStreamResponse]]]:
        async def ask(upstream: Upstream) -> AsyncChatStream[ChatCompletionStreamResponse]:
            stream: AsyncChatStream[ChatCompletionStreamResponse] = upstream.client.chat_stream(**arguments(upstream))
            return await stream.__aenter__()

        with offered.admission.place(client_key(request)) as place:
            async with offered.admission.slot(place):
                observation.started()
                async with upstreams.asking(offered, ask) as asked, asked.result:
                    yield asked

    async def whole() -> ChatCompletionResponse:
        async def ask(upstream: Upstream) -> ChatCompletionResponse:
            answer: ChatCompletionResponse = await upstream.client.chat(**arguments(upstream))
            return answer

        with offered.admission.place(client_key(request)) as place:
            async with offered.admission.slot(place):
                observation.started()
                async with upstreams.asking(offered, ask) as asked:
                    return answer.whole(asked.result)

    if body.stream:
        response: Response = EventStream(answer, generation(), request.app.state.patience)
    else:
        response = whole_answer(await while_connected(request.receive, whole))
    response.headers.update(offered.cards.retired(body.model))
    return response
