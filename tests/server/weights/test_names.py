import subprocess
import sys

import pytest

from mistral_client.server.weights import WeightsError, resolve


def test_a_file_is_found_by_its_path(baby_gguf, monkeypatch):
    assert resolve(str(baby_gguf)) == baby_gguf
    assert resolve(baby_gguf) == baby_gguf
    monkeypatch.setenv("HOME", str(baby_gguf.parent))
    assert resolve("~/baby.gguf") == baby_gguf
    monkeypatch.chdir(baby_gguf.parent)
    assert resolve("baby.gguf").samefile(baby_gguf)


def test_what_is_no_model_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "m.gguf").write_bytes(b"")
    (tmp_path / "text.gguf").write_text("hello")
    for name, said in {
        "mixtral-9x9b": "no model is called 'mixtral-9x9b'; name 'mixtral-8x135m' or the path of a .gguf file",
        "none.gguf": "none.gguf does not exist; name a .gguf file, or 'mixtral-8x135m' for the default model",
        "far/none": "far/none does not exist; name a .gguf file, or 'mixtral-8x135m' for the default model",
        "folder": "folder is a folder; name the .gguf file, of which there is none in it",
        "full": "full is a folder; name the .gguf file in it, such as m.gguf",
        "text.gguf": "text.gguf is not a GGUF file: it does not begin with GGUF",
        "full/m.gguf": "full/m.gguf is empty; download it again",
    }.items():
        with pytest.raises(WeightsError) as caught:
            resolve(name)
        assert str(caught.value) == said
    for name in ("a\0b", "~no-such-user/m.gguf", "x" * 300):
        with pytest.raises(WeightsError):
            resolve(name)


def test_importing_costs_nothing_heavy():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, mistral_client.server.weights as w; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert not {"numpy", "gguf", "tqdm", "filelock"} & set(loaded)
