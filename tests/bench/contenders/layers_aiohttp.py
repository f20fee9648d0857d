"""What lies between aiohttp and mistral_client over aiohttp, layer by layer, many calls at once."""

import json

import aiohttp
import httpx
import work as w
from httpx_aiohttp import AiohttpTransport

from mistral_client import MistralAsyncClient, _calls
from mistral_client._exchange import Received, decoded, reader_of
from mistral_client._transport import build_request

CHAT = f"{w.URL}/v1/chat/completions"
HEADERS = {"Authorization": f"Bearer {w.KEY}"}
BODY = {"model": w.CHAT, "messages": w.MESSAGES}
CALL = _calls.chat(w.MESSAGES, w.CHAT, {})
sessions = []
transport = AiohttpTransport()
over = httpx.AsyncClient(headers=HEADERS, transport=AiohttpTransport())
ours = MistralAsyncClient(w.KEY, w.URL, transport=AiohttpTransport())


async def alone():
    if not sessions:  # it must be made within its event loop
        sessions.append(aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=100)))
    async with sessions[0].post(CHAT, json=BODY) as answer:
        return bool((await answer.json())["choices"])


async def through_the_transport():
    # The same request as ours makes, by a caller who has dicts.
    json.dumps(BODY).encode()
    request = build_request(ours._config, CALL, CALL.request("0" * 28), ours._timeout)
    response = await transport.handle_async_request(request)
    return bool(json.loads(await response.aread())["choices"])


async def through_httpx():
    return bool((await over.post(CHAT, json=BODY)).json()["choices"])


async def through_us():
    return bool((await ours.chat(w.MESSAGES, w.CHAT)).choices)


answered = httpx.post(CHAT, headers=HEADERS, json=BODY)
ANSWERED = Received(answered.status_code, answered.headers, answered.content)


def typed():
    """What a call takes for typed objects in place of dicts, both ways."""
    _calls.chat(w.MESSAGES, w.CHAT, {})
    decoded(reader_of(CALL.answer), ANSWERED.content, ANSWERED, 200, "")


def plain():
    json.dumps(BODY).encode()
    json.loads(ANSWERED.content)


w.measured(
    {
        "aiohttp.alone": w.at_once(alone, w.CALLS),
        "aiohttp.transport": w.at_once(through_the_transport, w.CALLS),
        "aiohttp.httpx": w.at_once(through_httpx, w.CALLS),
        "aiohttp.ours": w.at_once(through_us, w.CALLS),
        "objects.typed": w.repeated(typed),
        "objects.plain": w.repeated(plain),
    }
)
