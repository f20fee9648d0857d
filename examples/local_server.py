"""The reference server on a real socket, and a client that talks to it."""

import socket
import threading

import uvicorn

from mistral_client import MistralClient
from mistral_client.server import create_app

with socket.create_server(("127.0.0.1", 0)) as listener:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        # The socket listens already, so this waits until the model is loaded.
        with MistralClient(endpoint=url) as client:
            messages = [{"role": "user", "content": "What is the capital of France?"}]
            response = client.chat(model="mistral-small", messages=messages, temperature=0, max_tokens=20)
        print(response.choices[0].message.content)
    finally:
        server.should_exit = True
        thread.join()
print("the server has ended")
