"""Plots as SVG, drawn by matplotlib.

Law of this file: the same findings make the same bytes, so that a report's diff shows what changed.
"""

from pathlib import Path

import matplotlib as mpl

from bench.findings import Plot

mpl.use("svg")
from matplotlib.figure import Figure

_STYLE = {
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(plot: Plot, folder: Path) -> Path:
    """Writes ``<name>.svg`` and says where."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 0.6 + 0.35 * len(plot.lines)) if plot.bars else (7.2, 4.0))
        axes = figure.subplots()
        if plot.bars:
            names = list(plot.lines)[::-1]
            values = [plot.lines[name][0][1] for name in names]
            drawn = axes.barh(names, values, color="#4477aa")
            axes.bar_label(drawn, fmt="%.2f", padding=3)
            axes.margins(x=0.12)
            axes.set_xlabel(plot.y)
        else:
            for label, points in plot.lines.items():
                axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=label)
            axes.set_xlabel(plot.x)
            axes.set_ylabel(plot.y)
            if plot.log_x:
                axes.set_xscale("log")
            if plot.log_y:
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
        axes.set_title(plot.title, loc="left")
        path = folder / f"{plot.name}.svg"
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    return path
