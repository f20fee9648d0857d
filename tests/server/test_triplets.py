"""Embeddings of the default model on triplets: a sentence is nearer to its paraphrase than to a stranger.

In `ordinary` the stranger is any other sentence of the same topic; in `alike` it was made to look like the sentence,
mostly with the same first words, and the paraphrase to look different: there all-MiniLM-L6-v2, which was made for
embeddings, gets 83 %, and of the ordinary ones all.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from mistral_client import MistralClient

TRIPLETS = json.loads(Path(__file__).with_name("triplets.json").read_text(encoding="utf-8"))


def share_of_hits(client, triplets):
    answer = client.embeddings("mistral-embed", [text for triplet in triplets for text in triplet])
    vectors = np.array([item.embedding for item in answer.data]).reshape(len(triplets), 3, -1)
    sentence, paraphrase, stranger = vectors.transpose(1, 0, 2)
    return ((sentence * paraphrase).sum(1) > (sentence * stranger).sum(1)).mean()


@pytest.mark.weights
@pytest.mark.parametrize(("kind", "least"), [("ordinary", 0.85), ("alike", 0.5)])
def test_a_paraphrase_is_nearer_than_a_stranger(kind, least):
    triplets = [triplet for topic in TRIPLETS[kind].values() for triplet in topic]
    assert len(triplets) == 60
    with MistralClient(endpoint="local") as client:
        hits = share_of_hits(client, triplets)
    print(f"{kind}: {hits:.1%}")
    assert hits >= least
