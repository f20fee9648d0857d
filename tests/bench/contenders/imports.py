"""Where the time and the memory of a program's imports go: python imports.py LINES.

Runs the lines and prints JSON: for each name its own CPU seconds and its own resident bytes, without those of what it
imported. A name is a module's, or one of those in brackets. Python's `-X importtime` misses what is imported by name
late, as pydantic imports itself, and knows nothing of memory.
"""

import _frozen_importlib as machinery
import os
import sys
import time
from functools import partial

PAGE = os.sysconf("SC_PAGE_SIZE")
STATM = os.open("/proc/self/statm", os.O_RDONLY)
VALIDATORS = "(validators)"
CERTIFICATES = "(certificates)"
INTERPRETER = "(interpreter)"
REST = "(rest)"

own = {}
open_ones = [[0.0, 0]]


def now():
    return time.process_time(), int(os.pread(STATM, 100, 0).split()[1]) * PAGE


def measured(name, do, *arguments, **options):
    """What `do` gives; what it takes is the name's own, but for what is measured within it."""
    before = now()
    open_ones.append([0.0, 0])
    try:
        return do(*arguments, **options)
    finally:
        taken = [after - then for after, then in zip(now(), before, strict=True)]
        within = open_ones.pop()
        outer, mine = open_ones[-1], own.setdefault(name, [0.0, 0])
        for at in (0, 1):
            outer[at] += taken[at]
            mine[at] += taken[at] - within[at]


find_and_load = machinery._find_and_load


def counted(name, import_):
    module = measured(name, find_and_load, name, import_)
    if name == "pydantic._internal._model_construction":
        complete = module.complete_model_class
        module.complete_model_class = lambda cls, *arguments, **options: measured(
            f"{VALIDATORS} {cls.__module__}", complete, cls, *arguments, **options
        )
    elif name == "ssl":
        load = module.SSLContext.load_verify_locations
        module.SSLContext.load_verify_locations = lambda *arguments: measured(CERTIFICATES, partial(load, *arguments))
    return module


def main():
    own[INTERPRETER] = begun = now()
    machinery._find_and_load = counted
    exec(sys.argv[1], {"__name__": "__main__"})
    machinery._find_and_load = find_and_load
    own[REST] = [after - then - within for after, then, within in zip(now(), begun, open_ones[0], strict=True)]

    import json  # not before: the program imports it too

    print(json.dumps(own))


if __name__ == "__main__":
    main()
