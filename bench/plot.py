"""A plot as SVG: panels below each other, lines over one common axis. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 190
"""Of one panel, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 34, 30
COLOURS = ("#1f6feb", "#d1570a", "#2da44e", "#8250df")
STEPS = 4
"""Lines of the grid, without the one at zero."""


class Line(NamedTuple):
    """One line of a panel."""

    name: str
    values: Sequence[float]


class Panel(NamedTuple):
    """One panel; its axis begins at zero, so that nothing looks larger than it is."""

    title: str
    lines: Sequence[Line]


def svg(panels: Sequence[Panel], at: Sequence[float], x_name: str, mark_at: float) -> str:
    """Give the plot. ``at`` is where the values of all lines are; what counts begins at ``mark_at``, and is shaded."""
    height = len(panels) * (HEIGHT + TOP + BOTTOM)
    begin = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    )
    drawn = (_panel(panel, at, x_name, mark_at, number * (HEIGHT + TOP + BOTTOM)) for number, panel in enumerate(panels))
    return "\n".join([begin, *drawn, "</svg>\n"])


def _panel(panel: Panel, at: Sequence[float], x_name: str, mark_at: float, top: int) -> str:
    x_max = max(at) or 1.0
    y_max = _nice(max((value for line in panel.lines for value in line.values), default=1.0))
    width, y_zero = WIDTH - LEFT - RIGHT, top + TOP + HEIGHT

    def x_of(value: float) -> str:
        return f"{LEFT + width * value / x_max:.1f}"

    def y_of(value: float) -> str:
        return f"{y_zero - HEIGHT * value / y_max:.1f}"

    shaded = width * (1 - mark_at / x_max)
    parts = [
        f'<rect x="{x_of(mark_at)}" y="{top + TOP}" width="{shaded:.1f}" height="{HEIGHT}" fill="#f3f6fa"/>',
        f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{escape(panel.title)}</text>',
    ]
    for step in range(STEPS + 1):
        y, x = y_max * step / STEPS, x_max * step / STEPS
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(y)}" y2="{y_of(y)}" stroke="#d0d7de"/>',
            f'<text x="{LEFT - 6}" y="{y_of(y)}" dy="4" text-anchor="end">{y:,.0f}</text>',
            f'<text x="{x_of(x)}" y="{y_zero + 16}" text-anchor="{"end" if step == STEPS else "middle"}">{x:,.2f}</text>',
        ]
    parts.append(f'<text x="{LEFT + width / 2}" y="{y_zero + 29}" text-anchor="middle">{escape(x_name)}</text>')
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x_of(x)},{y_of(y)}" for x, y in zip(at, line.values, strict=True))
        name_x = WIDTH - RIGHT - 110 * (len(panel.lines) - 1 - number)
        parts += [
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>',
            f'<text x="{name_x}" y="{top + 18}" text-anchor="end" fill="{colour}">{escape(line.name)}</text>',
        ]
    return "\n".join(parts)


def _nice(highest: float) -> float:
    """Give the least of 1, 2, 4, 5, 8, 10 times a power of ten that is not below."""
    power = 1.0
    while power * 10 < highest:
        power *= 10
    while power > highest > 0:
        power /= 10
    return next((power * factor for factor in (1, 2, 4, 5, 8, 10) if power * factor >= highest), power * 10)
