"""Models by the names of the Hugging Face hub, out of a hub on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .hub_server import hub

pytest.importorskip("huggingface_hub")

PROGRAM = """
import sys
from mistral_client.server import weights
try:
    print(weights.resolve(sys.argv[1]))
except weights.WeightsError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture
def resolve(tmp_path):
    """What a process prints that asks for a model; its variables are read when the package is imported."""

    def run(name, url, **variables):
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": url, "HF_HUB_ETAG_TIMEOUT": "2"}
        environment |= {"NO_PROXY": "*", "HF_HUB_DISABLE_XET": "1"} | variables
        done = subprocess.run([sys.executable, "-c", PROGRAM, name], env=environment, capture_output=True, text=True)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    return run


def test_the_only_model_of_a_repository(resolve, baby_gguf):
    with hub("owner/repo", {"README.md": b"# Baby", "baby.Q4.gguf": baby_gguf.read_bytes()}) as (url, downloaded):
        path = resolve("hf:owner/repo", url)
        assert path.endswith("/baby.Q4.gguf")
        assert Path(path).read_bytes() == baby_gguf.read_bytes()
        assert resolve("hf:owner/repo", url) == path
        assert downloaded == ["baby.Q4.gguf"], "once, and nothing else"
    assert resolve("hf:owner/repo", url, HF_HUB_OFFLINE="1") == path
    assert resolve("hf:owner/repo", url) == path, "the hub is gone, the file is not"


def test_one_of_several(resolve, baby_gguf):
    model = baby_gguf.read_bytes()
    files = {
        "m-Q4_K_M.gguf": model,
        "m-Q8_0.gguf": model,
        "m-F16-00001-of-00002.gguf": b"x",
        "m-F16-00002-of-00002.gguf": b"x",
    }
    with hub("owner/repo", files) as (url, downloaded):
        assert resolve("hf:owner/repo:q8_0", url).endswith("/m-Q8_0.gguf")
        assert resolve("hf:owner/repo:m-Q4_K_M.gguf", url).endswith("/m-Q4_K_M.gguf")
        assert downloaded == ["m-Q8_0.gguf", "m-Q4_K_M.gguf"]
        said = resolve("hf:owner/repo", url)
        assert "holds several models" in said
        assert "m-F16-00001-of-00002.gguf, m-Q4_K_M.gguf, m-Q8_0.gguf" in said
        assert "has no such file; there are" in resolve("hf:owner/repo:Q2", url)
        assert "is not a GGUF file" in resolve("hf:owner/repo:F16", url)
        assert downloaded[2:] == ["m-F16-00001-of-00002.gguf", "m-F16-00002-of-00002.gguf"], "all parts"


def test_what_cannot_be_had(resolve):
    with hub("owner/repo", {"README.md": b"", "pytorch_model.bin": b"pickle"}) as (url, downloaded):
        assert "holds no model in GGUF" in resolve("hf:owner/repo", url)
        assert "cannot be had from the hub" in resolve("hf:owner/other", url)
        assert downloaded == []
    assert "cannot be had from the hub" in resolve("hf:owner/repo", url)
    for name in ("hf:", "hf:repo", "hf:a/b/c", "hf:/repo"):
        assert "names no model of the hub" in resolve(name, url)
