"""examples/notebook.ipynb runs from top to bottom in a kernel, and is kept without outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.test_examples import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_it_holds_no_outputs():
    cells = code_cells(NOTEBOOK)
    assert len(cells) > 3
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.weights
def test_it_runs(tmp_path):
    pytest.importorskip("nbclient")
    own = {
        "PYTHONPATH": str(ROOT),
        "MISTRAL_LOCAL_THREADS": "1",
        "IPYTHONDIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", EXECUTE, NOTEBOOK, tmp_path / "done.ipynb"]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    question, stream, vectors = (cell["outputs"][-1] for cell in code_cells(tmp_path / "done.ipynb") if cell["outputs"])
    assert "Paris" in "".join(question["text"])
    assert "sea" in "".join(stream["data"]["text/markdown"])
    same, alike, other = map(float, re.findall(r"-?\d\.\d*", "".join(vectors["data"]["text/plain"])))
    assert same > alike > other
