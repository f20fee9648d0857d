"""llama.cpp's own HTTP server as it is, but for weights, slots and threads: python llama_cpp_server.py FILE."""

import sys

import xllamacpp

from tests.bench.contenders.answers import CONTEXT, SLOTS, THREADS

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_parallel = SLOTS
parameters.n_ctx = SLOTS * CONTEXT
parameters.kv_unified = False
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
parameters.verbosity = -1
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()  # until the bench ends
