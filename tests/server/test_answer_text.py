"""Texts that end an answer, whatever the pieces in which it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_client.server.engine import GenerationCancelled, TokenLogprob
from mistral_client.server.engines.answer_text import AnswerText


class Listener:
    def __init__(self, leaves_after=None):
        self.heard = []
        self.leaves_after = leaves_after

    def __call__(self, piece):
        self.heard.append(piece)
        return len(self.heard) == self.leaves_after

    @property
    def text(self):
        return "".join(piece.text for piece in self.heard)


@given(st.text("ab", max_size=30), st.lists(st.integers(0, 30)), st.lists(st.text("ab", max_size=4)))
def test_stop_texts_wherever_the_tokens_end(text, cuts, stops):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    listener = Listener()
    answer = AnswerText(listener, stops)
    ended = any(answer.add(piece, last=False) for piece in pieces) or answer.add("", last=True)
    assert ended
    stops = [stop for stop in stops if stop]
    assert answer.stopped == any(stop in text for stop in stops)
    assert not any(stop in listener.text for stop in stops)
    assert text.startswith(listener.text)
    if not answer.stopped:
        assert listener.text == text
    elif len(stops) == 1:
        assert listener.text == text[: text.index(stops[0])]


def test_tokens_come_with_their_text():
    listener = Listener()
    answer = AnswerText(listener, ["abc"])
    tokens = [TokenLogprob(text, number, -1.0) for number, text in enumerate(["x", "ab", "d"])]
    for token in tokens:
        answer.add(token.token, [token], last=token.token == "d")
    assert [(piece.text, piece.tokens) for piece in listener.heard] == [
        ("x", (tokens[0],)),
        ("", ()),
        ("abd", (tokens[1], tokens[2])),
    ]


def test_who_leaves_is_noticed_unless_all_was_said():
    answer = AnswerText(Listener(leaves_after=1), [])
    with pytest.raises(GenerationCancelled):
        answer.add("x", last=False)
    assert AnswerText(Listener(leaves_after=1), []).add("x", last=True)
