"""Charts as inline SVG: text in, text out. Colours and sizes of type come from the page's style sheet.

Every function takes numbers in the units it shows and returns one `<svg>` element that is also well-formed XML, with a
description for those who cannot see it. A mark carries its words in a `<title>`, which browsers show on hovering.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from rea.domain.plaintext import clean

WIDTH = 880
WIDEST = 0.95  # probability of the interval outside which a prediction is drawn as having failed


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (min(max(value, self.low), self.high) - self.low) / span * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a scatter; `style` is a CSS class that sets its colour and `shape` how it is drawn."""

    x: float
    y: float | None
    style: str
    shape: str
    words: str


@dataclass(frozen=True, slots=True)
class Span:
    """A bar of a Gantt chart."""

    lane: int
    start: float
    end: float
    style: str
    words: str
    failed: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Whisker:
    """A value with its interval, in a row of its own."""

    name: str
    low: float
    mean: float
    high: float
    words: str


@dataclass(frozen=True, slots=True)
class Predicted:
    """An effect as predicted and as observed, each with its standard deviation; `inside` the WIDEST interval or not."""

    name: str
    mean: float
    sd: float
    observed: float
    error: float
    inside: bool
    words: str


@dataclass(frozen=True, slots=True)
class Level:
    """One step of the burn-down: amounts from `x` on."""

    x: float
    approved: float
    spent: float
    reserved: float


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Round values (1, 2 or 5 times a power of ten apart) inside [low, high]: about `count` of them."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return (low,) if math.isfinite(low) else ()
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= raw), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def interval(rows: Sequence[Whisker], worthwhile: float, label: str) -> str:
    """Intervals under one another, with zero and the smallest gain worth launching. Values in per cent."""
    rows = [row for row in rows if _finite(row.low, row.mean, row.high)]
    if not rows:
        return ""
    low = min(0.0, *(row.low for row in rows))
    high = max(worthwhile, *(row.high for row in rows))
    pad = (high - low) * 0.12 or 0.1
    x = Scale(low - pad, high + pad, 84, 506)
    bottom = 26 + 34 * len(rows)
    out = [_grid_x(x, ticks(x.low, x.high, 5), 14, bottom, label)]
    out += [_line(x(0), 14, x(0), bottom, "zero")]
    if worthwhile > 0:
        out += [_line(x(worthwhile), 14, x(worthwhile), bottom, "limit")]
        out += [_text(x(worthwhile) + 5, 12, "worth launching", "note")]
    for index, row in enumerate(rows):
        y = 36 + 34 * index
        style = "first" if index == 0 else "second"
        body = _line(x(row.low), y, x(row.high), y, f"whisker {style}")
        body += "".join(_line(x(end), y - 6, x(end), y + 6, f"whisker {style}") for end in (row.low, row.high))
        body += f'<circle class="dot {style}" cx="{_n(x(row.mean))}" cy="{y}" r="5.5" />'
        out += [_text(72, y + 4, row.name, "lab end"), _titled(body, row.words)]
    words = "; ".join(row.words for row in rows)
    return _svg(bottom + 40, f"Gain with its 95 % interval. {words}", out, width=520)


def scatter(
    marks: Sequence[Mark],
    steps: Sequence[tuple[float, float]],
    *,
    end: float,
    band: float | None,
    worthwhile: float,
    x_label: str,
    y_label: str,
    words: str,
) -> str:
    """Points over compute, a noise band around zero, the smallest gain worth launching, and a step line.

    A mark without `y` is drawn on the axis. Marks far below the others are drawn at the lower edge, as arrows.
    """
    seen = [mark.y for mark in marks if mark.y is not None and math.isfinite(mark.y)]
    half = band or 0.0
    high = max([half, worthwhile, *seen, *(y for _, y in steps)]) * 1.12 or 1.0
    low = -max(half * 2.2, high * 0.35)
    low = max(min([*seen, -half * 1.3]) * 1.12, low) if seen else low
    x, y = Scale(0.0, end or 1.0, 66, WIDTH - 20), Scale(low, high, 312, 16)
    out = [
        _grid_x(x, ticks(0.0, x.high, 7), 16, 340, x_label),
        _grid_y(y, ticks(low, high, 6), 66, WIDTH - 20, y_label),
    ]
    if half:
        top, height = y(half), y(-half) - y(half)
        out.append(_titled(_rect(66, top, WIDTH - 86, height, "band"), f"noise: ± {half:.3f} %"))
    out.append(_line(66, y(0), WIDTH - 20, y(0), "zero"))
    if worthwhile > 0:
        out.append(_line(66, y(worthwhile), WIDTH - 20, y(worthwhile), "limit"))
    if steps:
        path = f"M{_n(x(steps[0][0]))} {_n(y(steps[0][1]))}"
        path += "".join(f"H{_n(x(at))}V{_n(y(value))}" for at, value in steps[1:]) + f"H{_n(x(x.high))}"
        out.append(f'<path class="best" d="{path}" />')
    for mark in marks:
        if mark.y is None or not math.isfinite(mark.y):
            out.append(_titled(shape(mark.shape, x(mark.x), 332, mark.style), mark.words))
        elif mark.y < low:
            out.append(_titled(shape("down", x(mark.x), 312, mark.style), mark.words))
        else:
            out.append(_titled(shape(mark.shape, x(mark.x), y(mark.y), mark.style), mark.words))
    return _svg(384, words, out)


def burndown(levels: Sequence[Level], warn_at: float, x_label: str, y_label: str, words: str) -> str:
    """What was approved, spent and reserved over time, as steps; a dotted line where no new hypothesis starts."""
    if not levels:
        return ""
    end = max(levels[-1].x, 1e-9)
    top = max(max(level.approved, level.spent + level.reserved) for level in levels) * 1.08 or 1.0
    x, y = Scale(0.0, end, 66, WIDTH - 20), Scale(0.0, top, 236, 16)
    out = [_grid_x(x, ticks(0.0, end, 7), 16, 236, x_label), _grid_y(y, ticks(0.0, top, 5), 66, WIDTH - 20, y_label)]
    used = [(level.x, 0.0, level.spent) for level in levels]
    out.append(f'<path class="spent" d="{_ribbon(used, x, y)}" />')
    held = [(level.x, level.spent, level.spent + level.reserved) for level in levels]
    out.append(f'<path class="reserved" d="{_ribbon(held, x, y)}" />')
    out.append(f'<path class="approved" d="{_steps([(level.x, level.approved) for level in levels], x, y)}" />')
    warning = [(level.x, level.approved * warn_at) for level in levels]
    if 0 < warn_at < 1:
        out.append(f'<path class="warn" d="{_steps(warning, x, y)}" />')
    return _svg(280, words, out)


def gantt(spans: Sequence[Span], end: float, x_label: str, words: str) -> str:
    """Attempts over time, one lane for each that ran at once."""
    if not spans:
        return ""
    lanes = max(span.lane for span in spans) + 1
    height = 22 if lanes <= 12 else max(5, 264 // lanes)
    bottom = 12 + lanes * height
    x = Scale(0.0, end or 1.0, 66, WIDTH - 20)
    out = [_grid_x(x, ticks(0.0, x.high, 7), 8, bottom, x_label)]
    if lanes <= 12:
        out += [_text(58, 12 + lane * height + 15, str(lane + 1), "tick end") for lane in range(lanes)]
    out.append(_text(14, (8 + bottom) / 2, "slot", "axis mid", turned=True))
    for span in spans:
        left, width = x(span.start), max(1.2, x(span.end) - x(span.start) - 0.6)
        top = 12 + span.lane * height + height * 0.12
        style = f"bar {span.style}" + (" hollow" if span.open else "")
        body = _rect(left, top, width, height * 0.76, style)
        if span.failed:
            body += _rect(left, top, width, height * 0.76, "bad")
        out.append(_titled(body, span.words))
    return _svg(bottom + 44, words, out)


def predicted(marks: Sequence[Predicted], label: str, words: str) -> str:
    """Observed against predicted effects, with the line on which a prediction comes true."""
    marks = [mark for mark in marks if _finite(mark.mean, mark.sd, mark.observed, mark.error)]
    if not marks:
        return ""
    low = min(0.0, *(min(mark.mean - mark.sd, mark.observed - mark.error) for mark in marks))
    high = max(0.0, *(max(mark.mean + mark.sd, mark.observed + mark.error) for mark in marks))
    pad = (high - low) * 0.08 or 0.1
    x, y = Scale(low - pad, high + pad, 66, 486), Scale(low - pad, high + pad, 396, 16)
    marked = ticks(x.low, x.high, 6)
    out = [_grid_x(x, marked, 16, 396, f"predicted {label}"), _grid_y(y, marked, 66, 486, f"observed {label}")]
    out += [_line(x(0), 16, x(0), 396, "zero"), _line(66, y(0), 486, y(0), "zero")]
    out.append(_line(x(x.low), y(x.low), x(x.high), y(x.high), "limit"))
    dots = [(x(mark.mean), y(mark.observed)) for mark in marks]
    taken: list[tuple[float, float]] = []
    for mark, (across, up) in zip(marks, dots, strict=True):
        body = _line(x(mark.mean - mark.sd), up, x(mark.mean + mark.sd), up, "whisker second")
        body += _line(across, y(mark.observed - mark.error), across, y(mark.observed + mark.error), "whisker first")
        style = "dot first" if mark.inside else "dot second"
        body += f'<circle class="{style}" cx="{_n(across)}" cy="{_n(up)}" r="4.5" />'
        left, top = _free_place(across, up, dots, taken)
        out.append(_titled(body + _text(left, top, mark.name, "lab"), mark.words))
    return _svg(440, words, out, width=506)


def belief(
    prior: tuple[float, float], posterior: tuple[float, float] | None, low: float, high: float, words: str
) -> str:
    """A belief before (a grey bar of ± one sd) and after (a dot with ± one sd), small enough for a table's cell."""
    x = Scale(low, high, 4, 146)
    out = [_line(x(0), 2, x(0), 22, "zero")]
    if _finite(*prior):
        mean, sd = prior
        out.append(_rect(x(mean - sd), 8, max(1.0, x(mean + sd) - x(mean - sd)), 8, "prior"))
    if posterior and _finite(*posterior):
        mean, sd = posterior
        out.append(_line(x(mean - sd), 12, x(mean + sd), 12, "whisker first"))
        out.append(f'<circle class="dot first" cx="{_n(x(mean))}" cy="12" r="3.6" />')
    return _svg(24, words, out, width=150)


def key(style: str, form: str) -> str:
    """A mark on its own, for a legend."""
    body = {
        "bar": lambda: _rect(1, 3, 12, 8, style),
        "line": lambda: _line(0, 7, 14, 7, style),
    }.get(form, lambda: shape(form, 7, 7, style))()
    return f'<svg class="key" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">{body}</svg>'


def shape(form: str, x: float, y: float, style: str) -> str:
    """One mark: circle, ring, square, diamond, triangle, down, cross or tick."""
    a, b = _n(x), _n(y)
    match form:
        case "circle":
            return f'<circle class="{style}" cx="{a}" cy="{b}" r="4.4" />'
        case "ring":
            return f'<circle class="{style} hollow" cx="{a}" cy="{b}" r="4" />'
        case "square":
            return _rect(x - 4, y - 4, 8, 8, style)
        case "cross":
            d = f"M{_n(x - 4.5)} {_n(y - 4.5)}l9 9m-9 0l9 -9"
            return f'<path class="{style} stroke" d="{d}" />'
        case "tick":
            return f'<path class="{style} stroke" d="M{a} {_n(y - 6)}V{_n(y + 6)}" />'
        case _:
            offsets = {
                "diamond": ((0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0)),
                "triangle": ((0, -5.4), (5.2, 4.2), (-5.2, 4.2)),
                "down": ((0, 5.4), (5.2, -4.2), (-5.2, -4.2)),
            }[form]
            corners = " ".join(f"{_n(x + dx)},{_n(y + dy)}" for dx, dy in offsets)
            return f'<polygon class="{style}" points="{corners}" />'


def _free_place(
    x: float, y: float, dots: Sequence[tuple[float, float]], taken: list[tuple[float, float]]
) -> tuple[float, float]:
    """Where a mark's name hides no other name and no dot: the first free of four corners, which is then taken."""

    def free(left: float, base: float) -> bool:
        clear = not any(left - 6 < a < left + 36 and base - 15 < b < base + 5 for a, b in dots)
        return clear and not any(abs(left - a) < 34 and abs(base - b) < 13 for a, b in taken)

    corners = [(x + 8, y - 7), (x - 36, y - 7), (x + 8, y + 16), (x - 36, y + 16)]
    place = next((corner for corner in corners if free(*corner)), corners[0])
    taken.append(place)
    return place


def _ribbon(rows: Sequence[tuple[float, float, float]], x: Scale, y: Scale) -> str:
    """The area between two step lines, each value holding until the next x."""
    top = _steps([(at, high) for at, _, high in rows], x, y)
    back = [f"V{_n(y(rows[-1][1]))}"]
    for (at, _, _), (_, low, _) in zip(rows[:0:-1], rows[-2::-1], strict=True):
        back.append(f"H{_n(x(at))}V{_n(y(low))}")
    return f"{top}{''.join(back)}H{_n(x(rows[0][0]))}Z"


def _steps(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    first, *rest = points
    return f"M{_n(x(first[0]))} {_n(y(first[1]))}" + "".join(f"H{_n(x(at))}V{_n(y(value))}" for at, value in rest)


def _grid_x(x: Scale, at: Iterable[float], top: float, bottom: float, label: str) -> str:
    out = []
    for value in (values := tuple(at)):
        out.append(_line(x(value), top, x(value), bottom, "grid"))
        out.append(_text(x(value), bottom + 17, _tick(value, values), "tick mid"))
    out.append(_text((x.start + x.end) / 2, bottom + 36, label, "axis mid"))
    return "".join(out)


def _grid_y(y: Scale, at: Iterable[float], left: float, right: float, label: str) -> str:
    out = []
    for value in (values := tuple(at)):
        out.append(_line(left, y(value), right, y(value), "grid"))
        out.append(_text(left - 8, y(value) + 4, _tick(value, values), "tick end"))
    out.append(_text(14, (y.start + y.end) / 2, label, "axis mid", turned=True))
    return "".join(out)


def _tick(value: float, values: Sequence[float]) -> str:
    step = abs(values[1] - values[0]) if len(values) > 1 else abs(value) or 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    text = f"{value:.{min(digits, 6)}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _svg(height: float, words: str, body: Iterable[str], width: int = WIDTH) -> str:
    label = escape(clean(words))
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {_n(height)}" width="{width}">{"".join(body)}</svg>'
    )


def _titled(body: str, words: str) -> str:
    return f"<g><title>{escape(clean(words))}</title>{body}</g>"


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" />'


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" />'


def _text(x: float, y: float, words: str, style: str, *, turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}"{turn}>{escape(clean(words))}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)
