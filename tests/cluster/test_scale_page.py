"""docs/scale.md: its configurations are such, and its computed tables are those of the formulas."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from mistral_client.server.ray import Settings
from tests import marks
from tests.cluster import scale_page
from tests.cluster.scale import MEASURED

BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", scale_page.PAGE.read_text(), re.MULTILINE | re.DOTALL)
DOCUMENTS = [yaml.safe_load(block) for block in BLOCKS]


def served_by(program):
    [found] = [
        told for told in DOCUMENTS if told.get("applications", [{}])[0].get("import_path", "").startswith(program)
    ]
    return found


@pytest.mark.parametrize("program", ["mistral_client.server.ray:build", "ray.serve.llm:build_openai_app"])
def test_serve_takes_its_config_files(program):
    told = served_by(program)
    read = ServeDeploySchema.model_validate(told)
    # What the schema does not know it drops.
    kept = json.loads(read.model_dump_json())
    assert set(told) <= set(kept)
    assert set(told["applications"][0]) <= set(kept["applications"][0])


def test_settings_take_ours():
    told = served_by("mistral_client.server.ray")["applications"][0]["args"]
    assert Settings.model_validate(told).model_dump(include=set(told)) == told


def test_ray_serve_llm_knows_the_fields():
    """Its classes cannot be imported without vLLM, so their source is asked."""
    folder = Path(importlib.util.find_spec("ray.llm").origin).parent
    source = (folder / "_internal/serve/core/configs/llm_config.py").read_text()
    fields = {
        kind.name: {line.target.id for line in kind.body if isinstance(line, ast.AnnAssign)}
        for kind in ast.parse(source).body
        if isinstance(kind, ast.ClassDef)
    }
    [config] = served_by("ray.serve.llm")["applications"][0]["args"]["llm_configs"]
    assert set(config) <= fields["LLMConfig"]
    assert set(config["model_loading_config"]) <= fields["ModelLoadingConfig"]
    deployment = set(re.search(r"Supported fields are:(.*?)For more", source, re.DOTALL)[1].split("`")[1::2])
    assert set(config["deployment_config"]) <= deployment
    module, _, router = config["deployment_config"]["request_router_config"]["request_router_class"].rpartition(".")
    routers = Path(importlib.util.find_spec("ray.serve").origin).parent / "llm/request_router.py"
    assert module == "ray.serve.llm.request_router"
    assert f"class {router}" in routers.read_text()


def test_kserve_resources_are_whole():
    kinds = {told["kind"]: told for told in DOCUMENTS if "kind" in told}
    assert set(kinds) == {"LLMInferenceService", "InferenceService"}
    for told in kinds.values():
        assert told["apiVersion"].startswith("serving.kserve.io/")
        assert told["metadata"]["name"]
    spec = kinds["LLMInferenceService"]["spec"]
    [container] = spec["template"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(spec["parallelism"]["tensor"])
    model = kinds["InferenceService"]["spec"]["predictor"]["model"]
    assert f"--tensor-parallel-size={model['resources']['limits']['nvidia.com/gpu']}" in model["args"]


def test_the_computed_tables_are_those_of_the_formulas():
    told = json.loads(MEASURED.read_text())
    for name, lines in {**scale_page.computed(told), "proxies": scale_page.proxies(told)}.items():
        assert marks.between(scale_page.PAGE, name) == "\n".join(lines), "python -m tests.cluster scale computed"
