"""Plots of reports, as SVG: service by weight over time, and how long interactive tasks waited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from openqse_simulator.measures import Report

#: More accounts than this are told apart by no legend.
_LEGEND = 8


def write(reports: dict[str, Report], directory: Path) -> Iterator[Path]:
    """Draws what there is to draw, ``service.svg`` and ``waits.svg``.

    Args:
        reports: by the name of the run, one at least.

    Yields:
        The files written. Equal reports give equal files.
    """
    drawn = {"service.svg": _service(reports)}
    if any(len(report.waits) for report in reports.values()):
        drawn["waits.svg"] = _waits(reports)
    for name, figure in drawn.items():
        with mpl.rc_context({"svg.hashsalt": "openqse", "svg.fonttype": "none"}):
            figure.savefig(directory / name, metadata={"Date": None})
        yield directory / name


def _service(reports: dict[str, Report]) -> Figure:
    """One panel for each run: fair is where the lines of those that have tasks are parallel."""
    figure = Figure(figsize=(3.2 * len(reports), 3.2), layout="constrained")
    panels = figure.subplots(1, len(reports), squeeze=False, sharey=True)[0]
    for panel, (name, report) in zip(panels, reports.items(), strict=True):
        for column, (account, weight) in enumerate(report.accounts.items()):
            panel.plot(
                report.times, report.service[:, column] / weight, label=f"{account} ({weight})"
            )
        panel.set(title=name, xlabel="time [s]")
    panels[0].set_ylabel("QPU time / shares [s]")
    if len(reports[next(iter(reports))].accounts) <= _LEGEND:
        panels[-1].legend(frameon=False)
    return figure


def _waits(reports: dict[str, Report]) -> Figure:
    """What part of the interactive tasks waited for no more than so many slices."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    most = max(int(report.waits.max(initial=1)) for report in reports.values())
    for name, report in reports.items():
        slices, counts = np.unique(report.waits, return_counts=True)
        if len(slices):
            parts = np.cumsum(counts) / counts.sum()
            axes.step([0, *slices, most], [0, *parts, 1], where="post", label=name)
    axes.set(
        xscale="symlog", xlim=(0, most), ylim=(0, 1.02), xlabel="slices of others",
        ylabel="interactive tasks that waited\nfor no more",
    )  # fmt: skip
    axes.legend(frameon=False)
    return figure
