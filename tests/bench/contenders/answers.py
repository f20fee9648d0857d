"""What each contender for the server's part does: reads answers of the default Mixtral, several at once.

python answers.py http URL KEY | local FILE | engine FILE

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


def over_http(url, key):
    import httpx

    http = httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120, limits=httpx.Limits(max_connections=None)
    )

    def stream(messages, tokens, temperature):
        options = {"max_tokens": tokens, "temperature": temperature, "stream": True}
        body = {"model": "mistral-tiny", "messages": messages, **options}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        yield choice["delta"].get("content")

    return stream


def locally(path):
    from mistral_client import MistralClient

    client = MistralClient(endpoint=f"local:{path}")

    def stream(messages, tokens, temperature):
        for chunk in client.chat_stream(messages, "mistral-tiny", temperature=temperature, max_tokens=tokens):
            yield chunk.choices[0].delta.content

    return stream


def by_the_engine(path):
    from mistral_client.server.engine import Sampling
    from mistral_client.server.engines.llama_cpp import LlamaCppEngine

    engine = LlamaCppEngine(path, context_length=CONTEXT, slots=SLOTS, threads=THREADS)
    begin, end = engine.token_id("<|im_start|>"), engine.token_id("<|im_end|>")

    def stream(messages, tokens, temperature):
        said = [[begin, f"{each['role']}\n{each['content']}", end, "\n"] for each in messages]
        prompt = engine.tokenize([part for parts in said for part in parts] + [begin, "assistant\n"])
        pieces = queue.SimpleQueue()

        def generate():
            sampling = Sampling(temperature=temperature, max_tokens=tokens)
            engine.generate(prompt, sampling, lambda piece: pieces.put(piece.text))
            pieces.put(None)

        threading.Thread(target=generate).start()
        while (text := pieces.get()) is not None:
            yield text

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
    stream = {"http": over_http, "local": locally, "engine": by_the_engine}[kind](*arguments)
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
