"""The server on Ray Serve: two nodes, two replicas of the baby Mixtral."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
import ray

from mistral_client import MistralConnectionException, MistralException, RateLimitError, StreamInterrupted
from mistral_client.exceptions import MistralAPIException

from .two_nodes import STORE, messages, until

LONG = {"model": "mistral-small", "max_tokens": 1500, "temperature": 0, "stop": ["never said"]}
SHORT = {"model": "mistral-small", "max_tokens": 8, "temperature": 0}


def text_of(client, conversation, **options):
    return client.chat(messages(conversation), **{**SHORT, **options}).choices[0].message.content


def test_all_calls(deployed):
    with deployed.client() as client:
        assert "mistral-small" in {card.id for card in client.list_models().data}
        whole = text_of(client, "hello")
        chunks = list(client.chat_stream(messages("hello"), **SHORT))
        assert "".join(chunk.choices[0].delta.content for chunk in chunks) == whole
        assert len(chunks) > 4  # as they are generated, not in one lump
        assert len(client.embeddings("mistral-embed", ["a", "b"]).data) == 2
        with pytest.raises(MistralAPIException) as caught:
            client.chat(messages("hello"), "nobody")
    assert (caught.value.http_status, caught.value.code) == (400, "1500")


def test_streams_interleave_over_both_replicas(deployed):
    """Two slots each: of streams that take equally long more than two run at a time only where both replicas work."""
    times = {}
    ready = threading.Barrier(4)

    def read(conversation):
        with deployed.client() as client:
            ready.wait(60)
            times[conversation] = [time.monotonic() for _ in client.chat_stream(messages(conversation), **LONG)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(read, _two_for_each(deployed)))
    last_began = max(seen[0] for seen in times.values())
    assert all(seen[-1] > last_began for seen in times.values())


def test_a_conversation_stays_with_its_replica(deployed):
    """And not all with the same one, though all have the same first message."""
    answering = []
    for number in range(64):
        told = [{"role": "system", "content": "Be brief."}, *messages(f"conversation {number}")]
        replicas = set()
        for _ in range(3):
            answer, replica = _asked(deployed, told)
            replicas.add(replica)
            told += [{"role": "assistant", "content": answer or "."}, *messages("and then?")]
        answering.append(replicas)
        if number > 3 and len(set.union(*answering)) == 2:
            break
    assert all(len(replicas) == 1 for replicas in answering)
    assert len(set.union(*answering)) == 2


def test_each_replica_has_metrics(deployed):
    replicas = {_asked(deployed, messages(conversation))[1] for conversation in _two_for_each(deployed)}
    until(lambda: all(_answers_by_replica().get(replica) for replica in replicas))


def _asked(deployed, told):
    """The answer, and which replica gave it."""
    response = httpx.post(deployed.url + "/v1/chat/completions", json={"messages": told, **SHORT}).raise_for_status()
    return response.json()["choices"][0]["message"]["content"], response.headers["x-served-by"]


def _answers_by_replica():
    """What Ray's agents tell of our own metrics."""
    found = {}
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        told = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text
        for line in told.splitlines():
            if line.startswith("ray_vllm_request_success_total") and 'finished_reason="length"' in line:
                replica = line.partition('replica="')[2].partition('"')[0]
                found[replica] = found.get(replica, 0) + float(line.rpartition(" ")[2])
    return found


def test_a_replica_killed_in_mid_stream(deployed):
    ends = {}
    flowing = threading.Barrier(5)

    def read(conversation):
        with deployed.client(max_retries=0) as client:
            try:
                with client.chat_stream(messages(conversation), **LONG) as chunks:
                    next(chunks)
                    flowing.wait(60)
                    for _ in chunks:
                        pass
                ends[conversation] = "whole"
            except StreamInterrupted as error:
                ends[conversation] = error.text

    # Two slots each: four conversations of which each replica has two.
    chosen = _two_for_each(deployed)
    with ThreadPoolExecutor(4) as threads:
        reading = [threads.submit(read, conversation) for conversation in chosen]
        flowing.wait(60)
        deployed.kill(deployed.replicas()[0])
        for each in reading:
            each.result()
    broken = [end for end in ends.values() if end != "whole"]
    assert len(broken) == 2
    assert all(broken)  # with what had come


def _two_for_each(deployed):
    """Two conversations for either replica, by who answers a first call."""
    found = {}
    for number in range(64):
        conversation = f"about {number}"
        found.setdefault(_asked(deployed, messages(conversation))[1], []).append(conversation)
        if len(found) == 2 and all(len(each) >= 2 for each in found.values()):
            break
    return [conversation for each in found.values() for conversation in each[:2]]


def test_calls_under_kills_of_replicas_and_a_node(deployed):
    """200 calls, and each comes to its answer: the client tries again what may be tried again."""
    draw = random.Random(1)
    node_killed = False
    with deployed.client(max_retries=30, deadline=240) as client, ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(text_of, client, f"call {each % 20}", max_tokens=200) for each in range(200)]
        # The kills are in this thread: Ray starts a node in the main one only.
        while (done := sum(call.done() for call in calls)) < len(calls):
            time.sleep(2)
            if not node_killed and done > 60:
                node_killed = True
                deployed.cluster.remove_node(next(iter(deployed.cluster.worker_nodes)))
                deployed.cluster.add_node(num_cpus=1, object_store_memory=STORE)
            elif replicas := deployed.replicas():
                with suppress(ValueError):  # it has gone by itself
                    deployed.kill(draw.choice(replicas))
        assert all(call.result() for call in calls)
    assert node_killed
    deployed.settled()
    assert sum(node["Alive"] for node in ray.nodes()) == 2


def test_overload_is_told_in_mistrals_words_and_waited_out(deployed):
    deployed.deploy(queue=0, queued=1)
    deployed.settled()
    refused = []

    def ask(number):
        with deployed.client(max_retries=0) as client:
            try:
                return text_of(client, f"load {number}", max_tokens=1500)
            except RateLimitError as error:
                refused.append(error)
                return None

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(ask, range(24)))
    assert any(answers)
    assert {error.code for error in refused} == {"3505"}
    assert all(error.retry_after >= 1 for error in refused)

    with deployed.client(max_retries=30) as client, ThreadPoolExecutor(24) as threads:
        assert all(threads.map(lambda number: text_of(client, f"load {number}", max_tokens=500), range(24)))


def test_redeploying_loses_no_call(deployed):
    stop = threading.Event()
    texts, failures = [], []

    def ask(number):
        with deployed.client(max_retries=5) as client:
            while not stop.is_set():
                try:
                    texts.append(text_of(client, f"on and on {number}", max_tokens=200))
                    chunks = client.chat_stream(messages(f"on and on {number}"), **{**LONG, "max_tokens": 400})
                    texts.append("".join(chunk.choices[0].delta.content for chunk in chunks))
                except MistralException as error:
                    failures.append(error)

    asking = [threading.Thread(target=ask, args=[number]) for number in range(3)]
    before = deployed.replicas()
    for each in asking:
        each.start()
    deployed.deploy(queue=5)
    until(lambda: not set(before) & set(deployed.replicas()))
    deployed.settled()
    stop.set()
    for each in asking:
        each.join()
    assert not failures
    assert len(texts) > 4


def test_there_are_as_many_replicas_as_it_takes(deployed):
    deployed.delete()  # else there are two already, and it is long before one goes
    deployed.deploy(replicas=1, max_replicas=2, slots=1)
    deployed.settled(1)
    stop = threading.Event()

    def ask(number):
        with deployed.client(max_retries=10) as client:
            while not stop.is_set():
                text_of(client, f"more and more {number}", max_tokens=500)

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask, number) for number in range(4)]
        try:
            deployed.settled(2)
        finally:
            stop.set()
        for each in asking:
            each.result()


def test_a_key(deployed):
    deployed.deploy(key_digests=[hashlib.sha256(b"the-key").hexdigest()])
    deployed.settled()
    with deployed.client(max_retries=0) as client, pytest.raises(MistralAPIException) as caught:
        client.list_models()
    assert caught.value.http_status == 401
    with deployed.client(api_key="the-key") as client:
        assert text_of(client, "hello")


def test_nothing_is_deployed(deployed):
    deployed.delete()
    with deployed.client(max_retries=0) as client, pytest.raises((MistralAPIException, MistralConnectionException)):
        text_of(client, "hello")
