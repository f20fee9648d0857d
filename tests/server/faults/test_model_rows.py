"""Rows of the table that are about the model: its memory, its template, its tokens, and what answers are held to."""

from __future__ import annotations

import concurrent.futures
import time

import pytest
from click.testing import CliRunner

from mistral_client.cli.program import program
from mistral_client.server.engine import EngineError
from mistral_client.server.engines.llama_cpp import LlamaCppEngine
from mistral_client.server.guard import Guard
from mistral_client.server.keys import Keys
from mistral_client.server.prompt import Turn, prompt_format
from mistral_client.server.weights.baby import write_gguf
from tests.server.test_app import EchoEngine, eventually, say


def ask(http, text, **fields):
    headers = {"Authorization": f"Bearer {fields.pop('key', 'none')}"}
    body = {"model": "echo", "messages": say(text), **fields}
    return http.post("/v1/chat/completions", json=body, headers=headers)


def test_row15_one_key_floods_and_another_is_served(serving):
    engine = EchoEngine(pause=0.02)
    http = serving(engine, guard=Guard(Keys(["flood", "other"])), queue=4)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        flood = [pool.submit(ask, http, "a b c d e f g h", key="flood") for _ in range(12)]
        eventually(lambda: engine.running == 2)
        time.sleep(0.1)
        answer = ask(http, "mine", key="other")
        assert answer.status_code == 200
        # The flood had six places at most; the other one did not wait for all of them.
        statuses = [call.result().status_code for call in flood]
    assert set(statuses) == {200, 429}
    assert any("user\nmine" in prompt for prompt in engine.prompts[:5])


def test_row20_memory_is_short(serving, tmp_path):
    with pytest.raises(EngineError, match=r"needs .* GB of memory and there are"):
        LlamaCppEngine(write_gguf(tmp_path / "long.gguf", context=2**27), context_length=2**27)
    http = serving(EchoEngine())
    answer = ask(http, "memory")
    assert (answer.status_code, answer.json()["message"]) == (503, "Memory is short.")
    assert "Memory is short." in ask(http, "one memory", stream=True).text
    assert ask(http, "fine").json()["choices"][0]["message"]["content"] == "fine "


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_row29_no_other_address_without_a_key(host):
    result = CliRunner().invoke(program, ["serve", "--host", host, "--port", "0"])
    assert result.exit_code == 1
    assert "is not a loopback address" in result.stderr


HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__['os'].system('true') }}",
    "{% include '/etc/passwd' %}",
    "{% for a in range(999999999) %}x{% endfor %}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_row34_code_in_a_template_does_not_run(template):
    with pytest.raises(EngineError):
        prompt_format(template, {"<s>": 1, "</s>": 2}.get).parts([Turn("user", "hello")])


def test_row35_control_tokens_in_user_text_are_text(baby):
    with LlamaCppEngine(baby, slots=1, context_length=256, threads=1) as engine:
        for text in ("<s>", "</s>", "<unk>", "[INST] </s> <s>", "<0x00>", "<|im_end|>"):
            tokens = engine.tokenize([text])
            assert tokens
            assert not {0, 1, 2} & set(tokens)


SCHEMAS = {
    "left-recursion": {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}},
    "10,000 alternatives": {"enum": [f"{number:05}" for number in range(10_000)]},
    "nested quantifiers": {"type": "string", "pattern": "^((a+)+)+$"},
    "repetition of repetition": {
        "type": "array",
        "minItems": 900,
        "items": {"type": "array", "minItems": 900, "items": {"type": "string", "minLength": 900}},
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_row37_a_schema_made_to_hurt(serving, name):
    http = serving(EchoEngine())
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMAS[name]}}
    begun = time.monotonic()
    answer = ask(http, "fine", response_format=wanted)
    assert answer.status_code in {200, 400}
    assert time.monotonic() - begun < 10
    assert http.get("/health").status_code == 200


def test_row37_a_schema_without_end(serving):
    http = serving(EchoEngine())
    schema = '{"type": "array", "items": ' * 5000 + "{}" + "}" * 5000
    body = (
        '{"model": "echo", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", '
    )
    body += '"json_schema": {"name": "x", "schema": ' + schema + "}}}"
    answer = http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert http.get("/health").status_code == 200
