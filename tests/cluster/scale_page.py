"""docs/scale.md: its tables, of what was computed, measured and simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.marks import table

from .capacity import A100, GB, H100, L40S, MIXTRAL_8X7B, WIDTHS, Assumed, Gpu, Replica, Work, capacity
from .day import APART, Bin, percentile
from .traffic import DAY, Burst, Traffic
from .validation import Compared, ratios

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"

REPLICAS = (
    Replica(L40S, 1, "int4"),
    Replica(L40S, 4, "fp16"),
    Replica(A100, 2, "fp16"),
    Replica(H100, 1, "fp8"),
    Replica(H100, 2, "fp8"),
    Replica(H100, 2, "fp16"),
    Replica(H100, 8, "fp16"),
)

FLEET = Replica(H100, 2, "fp8")
"""What fleets are made of here."""

NODE = 8
"""GPUs of a node."""

FLEETS = (1, 8, 2500)
"""Nodes."""


def computed(measured: Mapping[str, float]) -> dict[str, Iterator[str]]:
    """The tables that need no machine; what proxies cost was measured before."""
    return {
        "model": _model(),
        "sheets": _sheets((H100, A100, L40S)),
        "assumed": _assumed(Assumed(), Work()),
        "experts": _experts(),
        "replicas": _replicas(Work()),
        "fleets": _fleets(Work(), measured),
    }


def name(replica: Replica) -> str:
    return f"{replica.gpus} x {replica.gpu.name}, {replica.weights}"


def _model() -> Iterator[str]:
    model = MIXTRAL_8X7B
    rows = [
        ["parameters", f"{model.parameters / 1e9:.1f} billion"],
        ["of these for a token", f"{model.active / 1e9:.1f} billion"],
        *([f"weights in {width}", f"{model.parameters * size / GB:.1f} GB"] for width, size in WIDTHS.items()),
        ["keys and values of a token, fp16", f"{model.kept():,.0f} bytes"],
        [
            f"of a context of {model.max_position_embeddings:,} tokens",
            f"{model.kept() * model.max_position_embeddings / GB:.1f} GB",
        ],
    ]
    return table(["Mixtral 8x7B", ""], rows)


def _sheets(gpus: Sequence[Gpu]) -> Iterator[str]:
    rows = (
        [
            gpu.name,
            f"{gpu.memory / GB:.0f}",
            f"{gpu.bandwidth / GB:,.0f}",
            f"{gpu.flops / 1e12:.0f}",
            f"{gpu.flops_fp8 / 1e12:,.0f}",
            f"{gpu.link / GB:.0f}",
        ]
        for gpu in gpus
    )
    return table(
        ["", "memory, GB", "its bandwidth, GB/s", "TFLOPS, fp16", "TFLOPS, fp8", "to other GPUs, GB/s a direction"],
        rows,
    )


def _assumed(assumed: Assumed, work: Work) -> Iterator[str]:
    rows = [
        [
            "memory bandwidth, compute, links: reached of the data sheet",
            f"{assumed.bandwidth}, {assumed.compute}, {assumed.link}",
        ],
        ["an exchange between GPUs takes at least", f"{assumed.meeting * 1e6:.0f} µs"],
        ["work of the processor for a step", f"{assumed.step * 1e3:.0f} ms"],
        ["memory that is left alone", f"{assumed.reserved:.0%}, and {assumed.activations / GB:.0f} GB a GPU"],
        ["sequences at once, at most", f"{assumed.batch}"],
        ["a GPU for an hour", f"${assumed.price:.2f}"],
        ["a request", f"a prompt of {work.prompt:,} tokens, of which none is cached, an answer of {work.answer}"],
    ]
    return table(["assumed", ""], rows)


def _experts() -> Iterator[str]:
    model = MIXTRAL_8X7B
    batches = (1, 2, 4, 8, 16, 32)
    return table(
        ["sequences of a batch", *map(str, batches)],
        [
            ["experts of a layer that are read", *(f"{model.touched(batch):.1f}" for batch in batches)],
            ["billions of parameters that are read", *(f"{model.read(batch) / 1e9:.1f}" for batch in batches)],
            ["the same for a token of the batch", *(f"{model.read(batch) / batch / 1e9:.1f}" for batch in batches)],
        ],
    )


def _replicas(work: Work) -> Iterator[str]:
    rows = []
    for replica in REPLICAS:
        found = capacity(replica, work)
        assert found is not None
        rows.append(
            [
                name(replica),
                f"{replica.context:,}",
                f"{replica.context // MIXTRAL_8X7B.max_position_embeddings}",
                f"{found.batch}",
                f"{work.prompt * replica.reading(work.prompt) * 1e3:.0f}",
                f"{replica.step(1, work.context) * 1e3:.1f}",
                f"{found.between * 1e3:.0f}",
                f"{found.tokens:,.0f}",
                f"{found.dollars:.2f}",
                found.bound,
            ]
        )
    head = [
        "replica",
        "tokens of context",
        "contexts of 32k",
        "sequences at once",
        "to read the prompt, ms",
        "a token alone, ms",
        "a token when full, ms",
        "tokens/s when full",
        "$ for a million tokens",
        "bound by",
    ]
    return table(head, rows)


def _fleets(work: Work, measured: Mapping[str, float]) -> Iterator[str]:
    found = capacity(FLEET, work)
    assert found is not None
    rows = []
    for nodes in FLEETS:
        replicas = nodes * NODE // FLEET.gpus
        tokens = replicas * found.tokens
        cpu = replicas * (found.requests * measured["proxy_request"] + found.tokens * measured["proxy_chunk"])
        rows.append(
            [
                f"{nodes:,}",
                f"{replicas:,}",
                f"{tokens:,.0f}",
                f"{replicas * found.requests:,.0f}",
                f"{nodes * NODE * FLEET.assumed.price:,.0f}",
                f"{cpu:,.0f}",
                f"{replicas * measured['ring_replica'] * 1e3:,.0f}",
                f"{replicas * DAY / APART:,.0f}",
            ]
        )
    head = [
        "nodes",
        "replicas",
        "tokens/s",
        "requests/s",
        "$ an hour",
        "cores for proxies",
        "ms to build a ring",
        "failures a day",
    ]
    return table(head, rows)


FIGURES = {
    "throughput": ("answers/s", 1.0, ".2f"),
    "mean": ("time of an answer, s", 1.0, ".2f"),
    "p50": ("its median", 1.0, ".2f"),
    "p95": ("its 95th percentile", 1.0, ".2f"),
    "first": ("to the first token, s", 1.0, ".2f"),
    "refused": ("refused, %", 100.0, ".0f"),
}


def validation(found: Sequence[Compared]) -> Iterator[str]:
    """Medians of the rounds, measured and simulated, and the median of what they are to each other."""
    parts = sorted({each.part for each in found})
    rows = []
    for figure, (described, unit, form) in FIGURES.items():
        row = [described]
        for part in parts:
            rounds = [each for each in found if each.part == part]
            pair = [
                median(getattr(getattr(each, kind), figure) for each in rounds) * unit
                for kind in ("measured", "simulated")
            ]
            ratio = ratios(found, part).get(figure)
            row.append(" / ".join(format(value, form) for value in pair) + (f" ({ratio - 1:+.0%})" if ratio else ""))
        rows.append(row)
    rows.append(
        ["pace", *(f"{median(each.pace for each in found if each.part == part):.2f}" for part in parts)],
    )
    heads = [f"{part:g} of saturation" for part in parts]
    return table(["measured / simulated", *heads], rows)


def proxies(measured: Mapping[str, float]) -> Iterator[str]:
    """What was measured of them."""
    rows = [
        ["CPU time of a proxy for a request", f"{measured['proxy_request'] * 1e3:.1f} ms"],
        ["for a chunk of a stream", f"{measured['proxy_chunk'] * 1e6:,.0f} µs"],
        ["of each router for a ring of 10,000 replicas", f"{measured['ring_replica'] * 1e4:.1f} s"],
    ]
    return table(["measured", ""], rows)


def traffic(told: Traffic, bursts: Sequence[Burst]) -> Iterator[str]:
    """What comes."""
    rows = [
        [
            "requests a second for a replica",
            f"{told.mean:g} on average, {told.mean * (1 + told.swing):.1f} at the peak, {told.mean * (1 - told.swing):.1f} at night",
        ],
        [
            "bursts",
            "; ".join(
                f"{burst.begin / 3600:.1f} h: {burst.factor:.1f} times for {burst.seconds / 60:.0f} min"
                for burst in bursts
            ),
        ],
        [
            "a conversation",
            f"{told.turns:g} requests, a first prompt of {told.prompt} tokens, questions of {told.question}, answers of {told.answer}",
        ],
        ["between an answer and the next question", f"{told.pause:g} s"],
    ]
    return table(["traffic, averages", ""], rows)


def together(bins: Sequence[Bin]) -> Bin:
    """All of some bins as one."""
    found = Bin()
    for each in bins:
        found.arrived += each.arrived
        found.refused += each.refused
        found.broken += each.broken
        found.first.extend(each.first)
        found.whole.extend(each.whole)
        found.tokens += each.tokens
        found.read += each.read
        found.asked += each.asked
    return found


def after(runs: Mapping[int, Sequence[Bin]], minutes: Sequence[int], end: int) -> Iterator[str]:
    """A burst, by the queues of replicas: what users see in some minutes about its end, which is where a bin begins."""
    figures: dict[str, Callable[[Bin], str]] = {
        "first token, s: p50": lambda found: f"{percentile(found.first, 0.5):.2f}",
        "p95": lambda found: f"{percentile(found.first, 0.95):.2f}",
        "refused, %": lambda found: f"{100 * found.refused / found.arrived:.1f}",
        "of prompts in memory, %": lambda found: f"{100 * (1 - found.read / found.asked):.0f}",
    }
    rows = (
        [f"{minute:+d}", *(figure(bins[end + minute]) for figure in figures.values() for bins in runs.values())]
        for minute in minutes
    )
    heads = (f"{name}; queue of {queue}" for name in figures for queue in runs)
    return table(["minutes from its end", *heads], rows)


SEEN = [
    "requests/s a replica",
    "refused, %",
    "broken, %",
    "first token, s: p50",
    "p95",
    "p99",
    "whole answer, s: p50",
    "p95",
    "of prompts in memory, %",
]


def seen(bins: Sequence[Bin], seconds: float, replicas: int) -> list[str]:
    """One row of these: what users see."""
    found = together(bins)
    return [
        f"{found.arrived / seconds / replicas:.1f}",
        f"{100 * found.refused / found.arrived:.2f}",
        f"{100 * found.broken / found.arrived:.3f}",
        *(f"{percentile(found.first, part):.2f}" for part in (0.5, 0.95, 0.99)),
        *(f"{percentile(found.whole, part):.1f}" for part in (0.5, 0.95)),
        f"{100 * (1 - found.read / found.asked):.0f}",
    ]
