"""A plot of the figures against their goals, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .results import Result

_ROW = 20
_LABELS = 430
_WIDTH = 900
_TOP = 34
#: Where the plot ends: so many times better or worse than the goal.
_LIMIT = 10.0

_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .back { fill: #fff } .line { stroke: #1f2328 } .met { fill: #2b7a4b } .missed { fill: #b3432b }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .back { fill: #0d1117 } .line { stroke: #e6edf3 }
    .met { fill: #57ab5a } .missed { fill: #e5705a }
  }
"""


def plot(results: Sequence[Result]) -> str:
    """Bars that begin at the goal: to the right what is better than it, to the left what is worse."""
    rows = [result for result in results if result.goal is not None]
    height = _TOP + _ROW * len(rows) + 10
    goal_at = _at(1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>Each figure against its goal</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        *(_tick(factor, label) for factor, label in _TICKS),
        *(_bar(result, _TOP + _ROW * row) for row, result in enumerate(rows)),
        f'<line class="line" x1="{goal_at:.0f}" x2="{goal_at:.0f}" y1="{_TOP - 6}" y2="{height - 8}"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


_TICKS = (
    (1 / _LIMIT, "10 × worse"),
    (1.0, "goal"),
    (_LIMIT, "10 × better"),
)


def _tick(factor: float, label: str) -> str:
    anchor = {1.0: "middle", _LIMIT: "end"}.get(factor, "start")
    return f'<text x="{_at(factor):.0f}" y="18" text-anchor="{anchor}">{label}</text>'


def _bar(result: Result, top: int) -> str:
    factor = _advantage(result)
    start, end = sorted((_at(1.0), _at(factor)))
    kind = "met" if result.met else "missed"
    label = escape(f"{result.scenario} ({result.database})")
    verdict = f"{result.ratio:.3g}, goal {result.goal}"
    return (
        f'<text x="{_LABELS - 8}" y="{top + 14}" text-anchor="end">{label}</text>'
        f'<rect class="{kind}" x="{start:.1f}" y="{top + 4}" width="{max(end - start, 2):.1f}" '
        f'height="{_ROW - 7}"><title>{escape(verdict)}</title></rect>'
    )


def _advantage(result: Result) -> float:
    """How many times better than its goal a figure is."""
    assert result.goal is not None
    ratio, goal = max(result.ratio, 1e-9), result.goal.ratio
    return ratio / goal if result.goal.bound == ">=" else goal / ratio


def _at(factor: float) -> float:
    """The x of a factor, on a logarithmic scale."""
    bounded = min(max(factor, 1 / _LIMIT), _LIMIT)
    share = (math.log10(bounded) / math.log10(_LIMIT) + 1) / 2
    return _LABELS + share * (_WIDTH - _LABELS - 12)
