"""The plots of docs/performance.md, as SVG files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .client import OURS
from .model import Sparse
from .page import PAGE
from .server import NAMES, SERVE, STREAMS, Speeds

# The same figures give the same file.
mpl.rcParams |= {"svg.hashsalt": "mistral_client", "svg.fonttype": "none", "font.size": 9}
_OURS, _OTHERS = "#d9531e", "#8a93a3"


def chunk(microseconds: Mapping[str, float]) -> None:
    """CPU time for a chunk, by client, the cheapest at the top."""
    figure, axes = _axes(2.6)
    names = sorted(microseconds, key=lambda name: -microseconds[name])
    bars = axes.barh(
        names, [microseconds[name] for name in names], color=[_OURS if name == OURS else _OTHERS for name in names]
    )
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.set_xlabel("CPU time for a chunk of a stream, µs (logarithmic)")
    _save(figure, "chunk")


def streams(speeds: Speeds) -> None:
    """Tokens a second by contender and streams."""
    figure, axes = _axes(2.8)
    width = 0.8 / len(NAMES)
    for position, name in enumerate(NAMES):
        shade = _OURS if name == SERVE else (0.35 + 0.12 * position,) * 3
        axes.bar(
            [at + position * width for at in range(len(STREAMS))],
            [speeds.tokens_a_second(name, count) for count in STREAMS],
            width,
            label=name,
            color=shade,
        )
    axes.set_xticks(
        [at + (len(NAMES) - 1) / 2 * width for at in range(len(STREAMS))], [str(count) for count in STREAMS]
    )
    axes.set_xlabel("streams at once")
    axes.set_ylabel("tokens/s")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    _save(figure, "streams")


def experts(sparse: Sequence[Sparse]) -> None:
    """Tokens a second and active parameters by experts in use."""
    figure, axes = _axes(2.8)
    used = [each.experts for each in sparse]
    axes.plot(used, [each.tokens_a_second for each in sparse], "o-", color=_OURS)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("experts in use, of eight")
    axes.set_ylabel("tokens/s", color=_OURS)
    other = axes.twinx()
    other.plot(used, [each.active / 1e6 for each in sparse], "s--", color=_OTHERS)
    other.set_ylim(bottom=0)
    other.set_ylabel("active parameters, millions", color=_OTHERS)
    _save(figure, "experts")


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, name: str) -> None:
    figure.savefig(PAGE.with_name(f"performance-{name}.svg"), metadata={"Date": None})
