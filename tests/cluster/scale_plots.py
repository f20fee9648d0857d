"""The plots of docs/scale.md, as SVG files beside it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from .day import Bin, percentile
from .scale_page import PAGE
from .validation import Compared

# The same figures give the same file.
mpl.rcParams |= {"svg.hashsalt": "mistral_client", "svg.fonttype": "none", "font.size": 9}
_OURS, _OTHERS = "#d9531e", "#8a93a3"


def day(bins: Sequence[Bin], seconds: float, replicas: int, fleet: int) -> None:
    """Requests a second of the whole fleet, the wait for the first token, and what was refused."""
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    rate, wait, lost = figure.subplots(3, 1, sharex=True)
    hours = [number * seconds / 3600 for number in range(len(bins))]
    scale = fleet / replicas / seconds / 1000
    rate.plot(hours, [each.arrived * scale for each in bins], color=_OTHERS, label="asked")
    rate.plot(hours, [len(each.first) * scale for each in bins], color=_OURS, label="answered")
    rate.set_ylabel("thousand requests/s")
    for part, style in ((0.5, "-"), (0.95, "--"), (0.99, ":")):
        wait.plot(
            hours, [percentile(each.first, part) for each in bins], style, color=_OURS, label=f"p{part * 100:.0f}"
        )
    wait.set_yscale("log")
    wait.set_ylabel("first token, s")
    lost.plot(hours, [100 * each.refused / max(each.arrived, 1) for each in bins], color=_OURS, label="refused")
    lost.plot(hours, [100 * each.broken / max(each.arrived, 1) for each in bins], color=_OTHERS, label="broken")
    lost.set_ylabel("% of requests")
    lost.set_xlabel("hour of the day")
    lost.set_xticks(range(0, 25, 3))
    for axes in (rate, wait, lost):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left", ncols=3)
    _save(figure, "day")


def validation(found: Sequence[Compared]) -> None:
    """Every round: simulated over measured."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    shown = {"throughput": "answers/s", "mean": "mean time, s", "p95": "95th percentile, s"}
    for axes, (name, label) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        for number, part in enumerate(sorted({each.part for each in found})):
            rounds = [each for each in found if each.part == part]
            axes.plot(
                [getattr(each.measured, name) for each in rounds],
                [getattr(each.simulated, name) for each in rounds],
                "os^D"[number % 4],
                color=_OURS,
                markerfacecolor="none" if number % 2 else _OURS,
                label=f"{part:g} of saturation",
            )
        high = 1.15 * max(max(getattr(each.measured, name), getattr(each.simulated, name)) for each in found)
        axes.plot([0, high], [0, high], color=_OTHERS)
        axes.fill_between([0, high], [0, 0.8 * high], [0, 1.2 * high], color=_OTHERS, alpha=0.2, linewidth=0)
        axes.set_xlim(0, high)
        axes.set_ylim(0, high)
        axes.set_xlabel(f"{label}: measured")
        axes.spines[["top", "right"]].set_visible(False)
        if name == "throughput":
            axes.set_ylabel("simulated")
            handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    _save(figure, "validation")


def _save(figure: Figure, name: str) -> None:
    figure.savefig(PAGE.with_name(f"scale-{name}.svg"), metadata={"Date": None})
