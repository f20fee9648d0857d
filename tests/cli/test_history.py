"""What was typed at earlier times."""

import json
import stat

import pytest

from mistral_client.cli.history import LENGTH, LONGEST, History


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "history.jsonl"


def test_texts_come_back(file):
    texts = ["one", "two\nlines", "préféré", "\udce9", "x" * LONGEST]
    assert History(file).read() == []
    for text in [*texts, "x" * (LONGEST + 1)]:
        History(file).add(text)
    assert History(file).read() == texts


def test_nobody_else_may_read(file):
    History(file).add("one")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    History(file).add("two")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_last_are_kept(file):
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(str(n))}\n" for n in range(LENGTH + 5)))
    file.chmod(0o600)
    kept = [str(n) for n in range(5, LENGTH + 5)]
    assert History(file).read() == kept
    assert [json.loads(line) for line in file.read_text().splitlines()] == kept
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*file.parent.iterdir()] == [file]


def test_what_is_no_text_is_passed_over(file):
    file.parent.mkdir()
    file.write_bytes(b'"one"\n\xff\n{\n1\n' + b"[" * 100_000 + b'\n"two"\n"cut o')
    assert History(file).read() == ["one", "two"]


def test_a_file_that_cannot_be_used_is_passed_over(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "history"):
        History(path).add("one")
        assert History(path).read() == []
    assert (tmp_path / "file").read_bytes() == b""
