#!/bin/sh
# The command line, from a question to an array of vectors. question.txt holds the question, a line.
set -eu
mistral-client chat --max-tokens 12 < question.txt
mistral-client embed question.txt | head -c 60 && echo
mistral-client embed question.txt -o vectors.npy
python -c 'import numpy; print(numpy.load("vectors.npy").shape)'
