"""Hooks look on at calls: each request, what came of it, and what the whole call took."""

from mistral_client import AttemptInfo, CallInfo, ChatMessage, Hooks, MistralClient, RequestInfo


class Report(Hooks):
    def before_request(self, request: RequestInfo) -> None:
        request.headers["X-Team"] = "cheese"
        print(f"{request.method} {request.call.path}, request {request.number}")

    def after_attempt(self, attempt: AttemptInfo) -> None:
        print(f"answered with {attempt.status}" if attempt.error is None else f"failed: {attempt.error}")

    def after_call(self, call: CallInfo) -> None:
        tokens = call.usage.total_tokens if call.usage else 0
        print(f"{call.model}: {tokens} tokens, ended by {call.finish_reasons}, attempts: {call.attempts}")


messages = [ChatMessage(role="user", content="What is the capital of France?")]

# An asynchronous client's hooks may be coroutines.
with MistralClient(endpoint="local", hooks=[Report()]) as client:
    client.chat(model="mistral-small", messages=messages, max_tokens=40)
