"""The stages of a call and of a stream, each by itself and on top of each other, for mistral_client alone."""

import socket
import time
from random import random

import httpx
import work as w

from mistral_client import ChatCompletionStreamResponse, MistralClient, _calls
from mistral_client._body import raw, received
from mistral_client._chunks import DONE, ChunkDecoder
from mistral_client._exchange import Effort, decoded, reader_of
from mistral_client._http_chunks import ChunkJoiner
from mistral_client._sse import EventDecoder
from mistral_client._transport import build_request

READ = 64 * 1024  # at a time, as httpcore does
client = MistralClient(w.KEY, w.URL)
address = httpx.URL(w.URL)
bare = socket.create_connection((address.host, address.port))
CALL, STREAM = _calls.chat(w.MESSAGES, w.CHAT, {}), _calls.chat_stream(w.MESSAGES, w.STREAM, {})


def request(call):
    step = call.request(f"{int(random() * 2**53):014x}" * 2, Effort(client._config, call, time.monotonic).until)
    return build_request(client._config, call, step, client._timeout)


def sent(call):
    return client._own_transport().handle_request(request(call))


def over_a_socket(call):
    """The pieces of the response, read and not looked at. The request is the same in each turn."""
    made = request(call)
    head = b"".join(b"%b: %b\r\n" % pair for pair in made.headers.raw)
    message = b"POST %b HTTP/1.1\r\n%b\r\n%b" % (made.url.raw_path, head, made.content)
    end = b"0\r\n\r\n" if call.streamed else b"}"

    def exchange():
        bare.sendall(message)
        pieces = [bare.recv(READ)]
        while not pieces[-1].endswith(end):
            pieces.append(bare.recv(READ))
        return pieces

    return exchange


def drained(call):
    response = sent(call)
    try:
        return list(raw(response)), response
    finally:
        response.close()


# As they come over the network, for the stages above it.
RAW_PIECES = over_a_socket(STREAM)()
PIECES, RESPONSE = drained(STREAM)
ANSWERED = received(sent(CALL), client._config.limits)


def joined():
    joiner = ChunkJoiner()
    for piece in RAW_PIECES:
        joiner.feed(piece)


def events():
    decoder = EventDecoder()
    return [event.data for piece in PIECES for event in decoder.feed(piece)]


def typed():
    validate = ChatCompletionStreamResponse.__pydantic_validator__.validate_json
    for data in events():
        if data != DONE:
            validate(data)


def checked():
    decoder = ChunkDecoder(STREAM, RESPONSE, client._config.limits.event)
    for piece in PIECES:
        for _ in decoder.feed(piece):
            pass


def of_chunks(do):
    """A work whose unit is a chunk."""

    def work(count):
        for _ in range(count):
            do()
        return count * w.CHUNKS

    return work


w.measured(
    {
        "stream.socket": of_chunks(over_a_socket(STREAM)),
        "stream.joined": of_chunks(joined),
        "stream.transport": of_chunks(lambda: drained(STREAM)),
        "stream.events": of_chunks(events),
        "stream.typed": of_chunks(typed),
        "stream.checked": of_chunks(checked),
        "stream.whole": of_chunks(lambda: sum(1 for _ in client.chat_stream(w.MESSAGES, w.STREAM))),
        "call.socket": w.repeated(over_a_socket(CALL)),
        "call.arguments": w.repeated(lambda: _calls.chat(w.MESSAGES, w.CHAT, {})),
        "call.request": w.repeated(lambda: request(CALL)),
        "call.transport": w.repeated(lambda: received(sent(CALL), client._config.limits)),
        "call.typed": w.repeated(lambda: decoded(reader_of(CALL.answer), ANSWERED.content, ANSWERED, 200, "")),
        "call.whole": w.repeated(lambda: client.chat(w.MESSAGES, w.CHAT)),
    }
)
