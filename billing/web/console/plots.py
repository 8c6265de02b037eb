"""The dashboard's plots, drawn by pygal as SVG that the strict policy lets through: its look is in console.css."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import pygal
from markupsafe import Markup

from billing.money import exponent
from billing.services.measuring import Month
from billing.web.console.pages import Writer

_SIZE: Final = {"width": 560, "height": 200}
_QUIET: Final = {
    "show_legend": False,
    "disable_xml_declaration": True,
    "js": [],
    "css": [],
    "margin": 4,
    "margin_right": 12,
}

# pygal leaves a finder of modules behind, for map plug-ins that we have none of; Python 3.11 warns of its kind whenever
# a module is looked for in vain.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

_NEEDLESS: Final = ("style", "script", "desc", "title", "defs")


def recurring_plot(months: Sequence[Month], currency: str, writer: Writer) -> Markup:
    """Draw monthly recurring revenue as a line."""
    values = [month.recurring_minor for month in months]
    plot = pygal.Line(dots_size=3.5, range=(0, _top(values)), **_about(months, values, currency, writer))
    plot.add("", values, fill=True, show_dots=False)
    plot.add("", values)
    return _drawn(plot)


def recovery_plot(months: Sequence[Month], currency: str, writer: Writer) -> Markup:
    """Draw what was declined as bars, what of it was recovered below what was not."""
    values = [month.declined_minor for month in months]
    plot = pygal.StackedBar(range=(0, _top(values)), **_about(months, values, currency, writer))
    plot.add("", [month.recovered_minor for month in months])
    plot.add("", [month.declined_minor - month.recovered_minor for month in months])
    return _drawn(plot)


def _about(months: Sequence[Month], values: Sequence[int], currency: str, writer: Writer) -> dict[str, Any]:
    top = _top(values)
    labels = [{"value": at, "label": _round(at, currency, writer)} for at in (0, top // 2, top)]
    names = [writer.month(month.first_on) for month in months]
    return {**_SIZE, **_QUIET, "x_labels": names, "y_labels": labels}


def _round(minor: int, currency: str, writer: Writer) -> str:
    major = minor // 10 ** exponent(currency)
    return f"{writer.count(major // 1000)}k" if major >= 10_000 else writer.count(major)


def _top(values: Sequence[int]) -> int:
    """Return where the scale ends: a round number that holds every value."""
    most = max([*values, 100])
    step: int = 10 ** (len(str(most)) - 1)
    return next(step * factor // 10 for factor in (10, 20, 40, 60, 80, 100) if step * factor // 10 >= most)


def _drawn(plot: Any) -> Markup:
    """Return the plot without what the policy forbids or a reader does not need; its figures stand in a table."""
    plot.add_xml_filter(_bare)
    svg: str = plot.render(is_unicode=True)
    return Markup(svg)  # noqa: S704 - pygal escapes what it is given, which are numbers and names of months


def _bare(tree: Any) -> Any:
    """Take out styles, scripts, comments, and the texts that only a script would show."""
    for parent in list(tree.iter()):
        parent.attrib.pop("style", None)
        for child in filter(_is_needless, list(parent)):
            parent.remove(child)
    tree.set("class", "chart")
    tree.set("aria-hidden", "true")
    tree.attrib.pop("id", None)
    return tree


def _is_needless(node: Any) -> bool:
    if not isinstance(node.tag, str) or node.tag in _NEEDLESS:
        return True
    return "overlay" in node.get("class", "") and node.find(".//circle") is None
