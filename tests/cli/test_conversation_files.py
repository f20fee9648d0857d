"""Conversations in files, and `mistral-client chat --load`."""

import json

import pytest

from mistral_client import ChatMessage
from mistral_client.cli.conversation import Conversation
from mistral_client.cli.failure import Failure

from .conftest import events, sent

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Which? 🧀"}]},
    {"role": "assistant", "content": "Brie.", "of_a_newer_server": [1]},
]


@pytest.fixture
def conversation():
    return Conversation("large", [ChatMessage.model_validate(message) for message in SAID])


@pytest.fixture
def saved(tmp_path, conversation):
    path = tmp_path / "cheese.json"
    conversation.save(str(path))
    return path


def test_what_is_saved_can_be_loaded(saved, conversation):
    assert json.loads(saved.read_text()) == {"model": "large", "messages": SAID}
    assert "Which? 🧀" in saved.read_text()
    assert Conversation.load(str(saved)) == conversation


def test_the_home_folder(saved, conversation, monkeypatch):
    monkeypatch.setenv("HOME", str(saved.parent))
    assert Conversation.load("~/cheese.json") == conversation


def test_only_a_conversation_is_replaced(saved, conversation, tmp_path):
    conversation.clear()
    conversation.save(str(saved))
    assert Conversation.load(str(saved)).messages == conversation.messages
    other = tmp_path / "notes.txt"
    other.write_text("dear diary")
    with pytest.raises(Failure, match=r"notes.txt holds no conversation"):
        conversation.save(str(other))
    assert other.read_text() == "dear diary"
    assert {*tmp_path.iterdir()} >= {saved, other}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "1",
        '"messages"',
        '{"messages": []}',
        '{"model": 1, "messages": []}',
        '{"model": "m", "messages": [1]}',
        '{"model": "m", "messages": [{}]}',
        '{"model": "m", "messages": 1}',
        "[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_conversation(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Failure, match="holds no conversation"):
        Conversation.load(str(path))


def test_a_file_that_is_not_there(invoke, tmp_path):
    result = invoke("chat", "x", "--load", tmp_path / "none.json", "--endpoint", "http://127.0.0.1:9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {tmp_path / 'none.json'} cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("options", "model", "system"),
    [([], "large", "Be brief."), (["-m", "tiny", "--system", "Sing."], "tiny", "Sing.")],
)
def test_a_question_goes_on(invoke, raw_server, saved, options, model, system):
    server = raw_server(events("Comté."))
    result = invoke("chat", "And then?", "--load", saved, *options, "--endpoint", server.url)
    assert (result.exit_code, result.stdout) == (0, "Comté.\n")
    asked = sent(server.requests[0])
    assert asked["model"] == model
    assert asked["messages"] == [{**SAID[0], "content": system}, *SAID[1:], {"role": "user", "content": "And then?"}]


def test_the_system_message(conversation):
    conversation.instruct("Sing.")
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant"]
    conversation.instruct("")
    assert [message.role for message in conversation.messages] == ["user", "assistant"]
    conversation.instruct("Sing.")
    conversation.clear()
    assert [message.content for message in conversation.messages] == ["Sing."]
    conversation.instruct("")
    conversation.clear()
    assert conversation.messages == []
