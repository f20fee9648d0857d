"""What each contender for the server's part does: reads answers of the default Mixtral, several at once.

python answers.py http URL MODEL | llama.cpp URL | local FILE | engine FILE | callback FILE | native FILE

Standard input has a line of JSON for each measurement, {"conversations": [[message, ...], ...], "tokens": n,
"temperature": t}: one stream for each conversation, all at once. The answer is a line of JSON, a list for each stream:
the times of its tokens in seconds from the beginning, and its text.
"""

import json
import queue
import sys
import threading
import time

SLOTS = 8
CONTEXT = 1024
THREADS = 2


def over_http(url, model, **more):
    import httpx

    # llama.cpp's server ends a connection that is idle for 5 s; one that it is about to end must not be used again.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=2.0)
    http = httpx.Client(base_url=url, headers={"Authorization": "Bearer key"}, timeout=300, limits=limits)

    def stream(messages, tokens, temperature):
        options = {"max_tokens": tokens, "temperature": temperature, "stream": True}
        body = {"model": model, "messages": messages, **options, **(more if temperature == 0 else {})}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        yield choice["delta"].get("content")

    return stream


def from_llama_cpp(url):
    # Ours reads the whole prompt of an answer that is to be the same each time; theirs would find in its cache the few
    # tokens with which all of the bench begin.
    return over_http(url, "any", cache_prompt=False)


def locally(path):
    from mistral_client import MistralClient

    client = MistralClient(endpoint=f"local:{path}")

    def stream(messages, tokens, temperature):
        for chunk in client.chat_stream(messages, "mistral-tiny", temperature=temperature, max_tokens=tokens):
            yield chunk.choices[0].delta.content

    return stream


def loaded(path):
    from mistral_client.server.engines.llama_cpp import LlamaCppEngine

    return LlamaCppEngine(path, context_length=CONTEXT, slots=SLOTS, threads=THREADS)


def prompted(engine, messages):
    begin, end = engine.token_id("<|im_start|>"), engine.token_id("<|im_end|>")
    said = [[begin, f"{each['role']}\n{each['content']}", end, "\n"] for each in messages]
    return engine.tokenize([part for parts in said for part in parts] + [begin, "assistant\n"])


def by_the_engine(path):
    from mistral_client.server.engine import Sampling

    engine = loaded(path)

    def stream(messages, tokens, temperature):
        prompt = prompted(engine, messages)
        pieces = queue.SimpleQueue()

        def generate():
            sampling = Sampling(temperature=temperature, max_tokens=tokens)
            engine.generate(prompt, sampling, lambda piece: pieces.put(piece.text))
            pieces.put(None)

        threading.Thread(target=generate).start()
        while (text := pieces.get()) is not None:
            yield text

    return stream


def natively(path, with_callback):
    """llama.cpp without the engine around it: its text at the end, and until then nothing, or a callback that does
    nothing."""
    from mistral_client.server.engine import Sampling

    engine = loaded(path)

    def stream(messages, tokens, temperature):
        prompt = prompted(engine, messages)
        request = engine._request(prompt, Sampling(temperature=temperature, max_tokens=tokens), tokens)
        if with_callback:
            engine._server.handle_completions(request, lambda _chunk: False)
            yield "the end"
        else:
            yield engine._server.handle_completions(request | {"stream": False})["choices"][0]["text"]

    return stream


def read(pieces, begun, into):
    times, texts = [], []
    for text in pieces:
        if text:
            times.append(time.perf_counter() - begun)
            texts.append(text)
    into[:] = [times, "".join(texts)]


def main():
    kind, *arguments = sys.argv[1:]
    stream = {
        "http": over_http,
        "llama.cpp": from_llama_cpp,
        "local": locally,
        "engine": by_the_engine,
        "callback": lambda path: natively(path, with_callback=True),
        "native": lambda path: natively(path, with_callback=False),
    }[kind](*arguments)
    for line in sys.stdin:
        wanted = json.loads(line)
        answers = [[] for _ in wanted["conversations"]]
        begun = time.perf_counter()
        threads = [
            threading.Thread(target=read, args=(stream(messages, wanted["tokens"], wanted["temperature"]), begun, into))
            for messages, into in zip(wanted["conversations"], answers, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
