"""A server whose page shows what was asked of it, and by whom: `mistral-client serve` has it at `/`."""

import socket
import threading

import httpx
import uvicorn

from mistral_client import MistralClient
from mistral_client.server import create_app
from mistral_client.server.inspector import Inspector

with socket.create_server(("127.0.0.1", 0)) as listener:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(inspector=Inspector())
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with MistralClient(endpoint=url) as client:
            client.chat("mistral-small", [{"role": "user", "content": "What is the sun?"}], max_tokens=10)
        page = httpx.get(url + "/")
        print("the page:", page.status_code, page.headers["content-type"])
        input("Open it in a browser, and press Enter to end.\n")
    finally:
        server.should_exit = True
        thread.join()
