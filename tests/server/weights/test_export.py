import errno
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from mistral_client.server.weights import WeightsError, baby
from mistral_client.server.weights.export import export_safetensors


def test_the_checkpoint_is_what_the_gguf_was_made_of(baby_gguf, tmp_path):
    written = load_file(export_safetensors(baby_gguf, tmp_path / "out") / "model.safetensors")
    original = load_file(baby.write_safetensors(tmp_path / "original") / "model.safetensors")
    assert written.keys() == original.keys()
    for name, weight in original.items():
        assert written[name].dtype == np.float16
        np.testing.assert_array_equal(written[name], weight.astype(np.float16), err_msg=name)


def test_its_config_says_the_same(baby_gguf, tmp_path):
    written = json.loads((export_safetensors(baby_gguf, tmp_path / "out") / "config.json").read_text())
    original = json.loads((baby.write_safetensors(tmp_path / "original") / "config.json").read_text())
    for key in original.keys() - {"torch_dtype", "initializer_range", "router_aux_loss_coef"}:
        wanted = original[key]
        assert written[key] == (pytest.approx(wanted) if isinstance(wanted, float) else wanted), key


def test_an_empty_folder_is_taken_and_a_full_one_refused(baby_gguf, tmp_path):
    (tmp_path / "empty").mkdir()
    assert export_safetensors(baby_gguf, tmp_path / "empty") == tmp_path / "empty"
    before = sorted((tmp_path / "empty").iterdir())
    with pytest.raises(WeightsError, match="is there already and not empty"):
        export_safetensors(baby_gguf, tmp_path / "empty")
    assert sorted((tmp_path / "empty").iterdir()) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WeightsError, match="is there already and not empty"):
        export_safetensors(baby_gguf, tmp_path / "file")


def test_nothing_is_left_of_what_fails(baby_gguf, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        export_safetensors(baby_gguf, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_room_is_looked_for_first(baby_gguf, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(WeightsError, match=r"takes \d+ MB and 1 MB are free"):
        export_safetensors(baby_gguf, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
