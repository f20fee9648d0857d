"""Embeddings on the wire: dimensions, number types and encodings."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from mistral_client.models.embeddings import EmbeddingObject
from mistral_client.server.embedding_dtype import as_dtype
from mistral_client.server.loading import Loaded
from mistral_client.server.local import LocalServer, SyncTransport
from tests.server.test_app import EchoEngine

TYPES = {"float": "<f4", "int8": "i1", "uint8": "u1", "binary": "i1", "ubinary": "u1"}


class ScatterEngine(EchoEngine):
    """Vectors of any width: normally distributed, drawn by the text."""

    is_embedding_model = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def embed(self, prompts):
        return [np.random.default_rng(prompt).standard_normal(self.width).tolist() for prompt in prompts]


@pytest.fixture
def ask():
    """Asks a model of some width for embeddings."""
    servers = []

    def post(width: int = 576, **body) -> httpx.Response:
        server = LocalServer(lambda: Loaded("scatter", "", ScatterEngine(width)))
        servers.append(server)
        server.start()
        with httpx.Client(transport=SyncTransport(server), base_url="http://local") as http:
            return http.post("/v1/embeddings", json={"model": "mistral-embed", "input": ["one", "two"], **body})

    yield post
    for server in servers:
        server.close()


def vectors(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["data"]])


@pytest.mark.parametrize("width", [3, 576, 1024, 4096])
@pytest.mark.parametrize("dimension", [1, 7, 256, 1024])
def test_fewer_dimensions_are_the_first_ones_at_unit_norm(ask, width, dimension):
    whole = vectors(ask(width))
    cut = vectors(ask(width, output_dimension=dimension))
    assert whole.shape == (2, 1024)
    first = whole[:, :dimension]
    assert np.allclose(cut, first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6)


def test_a_projection_keeps_cosines_nearly(ask):
    own = np.array(ScatterEngine(4096).embed([[*map(ord, "one")], [*map(ord, "two")]]))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    one, two = vectors(ask(4096))
    assert one @ two == pytest.approx(own[0] @ own[1], abs=0.15)


@pytest.mark.parametrize(
    ("dimension", "status", "field"), [(1025, 400, "output_dimension"), (0, 422, "output_dimension")]
)
def test_dimensions_out_of_range_are_refused(ask, dimension, status, field):
    answer = ask(output_dimension=dimension)
    assert answer.status_code == status
    assert field in answer.text


@pytest.mark.parametrize("dtype", TYPES)
def test_base64_holds_the_bytes_of_the_type(ask, dtype):
    numbers = ask(output_dtype=dtype)
    packed = ask(output_dtype=dtype, encoding_format="base64")
    for as_numbers, as_text in zip(vectors(numbers), packed.json()["data"], strict=True):
        assert np.array_equal(
            as_numbers.astype(TYPES[dtype]), np.frombuffer(base64.b64decode(as_text["embedding"]), TYPES[dtype])
        )


def test_whole_numbers_keep_the_cosine(ask):
    whole = vectors(ask())
    eighth, unsigned = vectors(ask(output_dtype="int8")), vectors(ask(output_dtype="uint8"))
    assert np.abs(eighth).max(axis=1).tolist() == [127, 127]
    assert np.array_equal(unsigned, eighth + 128)
    norms = np.linalg.norm(eighth, axis=1)
    assert eighth[0] @ eighth[1] / norms.prod() == pytest.approx(whole[0] @ whole[1], abs=0.01)


@pytest.mark.parametrize("dimension", [8, 12, 1024])
def test_bits_are_signs(ask, dimension):
    whole = vectors(ask(output_dimension=dimension))
    bits = vectors(ask(output_dimension=dimension, output_dtype="ubinary"))
    offset = vectors(ask(output_dimension=dimension, output_dtype="binary"))
    assert bits.shape == (2, -(-dimension // 8))
    assert np.array_equal(np.unpackbits(bits.astype(np.uint8), axis=1, count=dimension), whole > 0)
    assert np.array_equal(offset, bits - 128)


def test_a_vector_of_zeros_stays_one():
    zeros = np.zeros(16, np.float32)
    assert {name: as_dtype(zeros, name).tolist() for name in TYPES} == {
        "float": [0.0] * 16,
        "int8": [0] * 16,
        "uint8": [128] * 16,
        "binary": [-128] * 2,
        "ubinary": [0] * 2,
    }


@pytest.mark.parametrize("numbers", [[1, -128, 127], [0.5, -1.0, 0.0], [1, 0.5, 0]])
def test_numbers_arrive_as_they_were_sent(numbers):
    text = json.dumps({"object": "embedding", "embedding": numbers, "index": 0})
    seen = EmbeddingObject.model_validate_json(text).embedding
    whole = all(isinstance(number, int) for number in numbers)
    assert seen == numbers
    assert {type(number) for number in seen} == {int if whole else float}


def test_there_are_sixty_triplets():
    topics = json.loads((Path(__file__).parents[1] / "data" / "triplets.json").read_text())
    triplets = [triplet for topic in topics.values() for triplet in topic]
    assert [len(topic) for topic in topics.values()] == [20, 20, 20]
    assert len({text for triplet in triplets for text in triplet}) == 180
