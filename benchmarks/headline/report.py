"""The table, the file of results and the plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.headline import arms, rea_arm
from benchmarks.headline.bench import Bench
from benchmarks.headline.journal import stamp
from benchmarks.headline.search import TUNERS
from benchmarks.headline.summary import summarise
from benchmarks.headline.tasks import Task
from benchmarks.headline.verdict import POOLED, Verdict, verdicts

ORDER = (*TUNERS, rea_arm.COLD, rea_arm.WARM)
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#000000", "#555555")


def gather(bench: Bench, wanted: Sequence[Task]) -> dict[str, Any]:
    """All results there are of these tasks, as headline.json has them."""
    found: list[Verdict] = []
    missing: list[str] = []
    baselines = {}
    for task in wanted:
        baseline = bench.baseline(task)
        if baseline is None:
            missing.append(f"{task.name}: its baseline is not tuned yet")
            continue
        baselines[task.name] = {"ne_valid": baseline.ne, "cpu_s": baseline.cpu_s}
        judged, not_yet = verdicts(bench, task, baseline)
        found += judged
        missing += not_yet
    summary = summarise(found, [(task.name, arm) for task in wanted for arm in ORDER])
    for task in baselines:
        absent = [pair.split()[1] for pair in summary["missing"] if pair.split()[0] == task]
        if absent:
            missing.append(f"{task}: no verdict of {', '.join(absent)}")
    summary["missing"] = missing
    return {
        "budget_runs": arms.BUDGET_RUNS,
        "baselines": baselines,
        "verdicts": [verdict.as_record() for verdict in found],
        "summary": summary,
        **short(summary),
        "trainer": bench.trainer.digest,
        **stamp(),
    }


def short(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that the whole is about: REA over the best other arm, and on how many tasks it is not worse."""
    ratios = {name: summary[name] and summary[name]["ratio"] for name in ("ratio_cold", "ratio_warm")}
    not_worse = summary["tasks_not_worse_cold"]
    return {**ratios, "tasks_not_worse": sum(not_worse.values()), "tasks_compared": len(not_worse)}


def write(bench: Bench, wanted: Sequence[Task]) -> str:
    """headline.json and headline.svg beside the folder of results; returns the table."""
    found = gather(bench, wanted)
    folder = bench.results.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "headline.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "headline.svg").write_text(plot(found["summary"]), encoding="utf-8")
    return table(found)


def table(found: Mapping[str, Any]) -> str:
    """Markdown: verdicts, means over tasks, ratios, head-room, and what is missing."""
    head = ["task", "arm", "gain, sealed", "95 % interval", "AUC", "claimed − raw", "area", "CPU ÷ budget"]
    head += ["predicting ×", "launched"]
    rows = []
    for one in sorted(found["verdicts"], key=lambda one: (one["task"], _place(one["arm"]), one["seed"])):
        gain = one["gain"]
        rows.append(
            [
                one["task"],
                f"{one['arm']}-{one['seed']}",
                f"{gain['gain']:+.2%}",
                f"{gain['low']:+.2%} to {gain['high']:+.2%}",
                f"{one['auc']:.4f} ({one['auc_gain']:+.4f})",
                _percent(one["curse"]),
                _percent(one["area"]),
                "–" if one["spent_share"] is None else f"{one['spent_share']:.2f}",
                f"{one['inference']:.2f}",
                {None: "–", True: "yes", False: "no"}[one["launched"]],
            ]
        )
    parts = [_markdown(head, rows)] if rows else ["No verdict yet."]
    summary = found["summary"]
    means = []
    for arm, own in sorted(summary["arms"].items(), key=lambda item: _place(item[0])):
        gain = f"{own['mean_gain']:+.2%} ± {own['se']:.2%}"
        means.append([arm, str(own["tasks"]), gain, _percent(own["mean_curse"]), _percent(own["mean_area"])])
    if means:
        parts.append(_markdown(["arm", "tasks", "mean gain ± SE", "claimed − raw", "area"], means))
    for label in ("cold", "warm"):
        for name, words in (
            (f"ratio_{label}", "all its tasks"),
            (f"ratio_{label}_where_sure", "tasks it surely gains on"),
        ):
            one = summary[name]
            if one is not None:
                parts.append(
                    f"{name} = {one['ratio']:.2f} over {len(one['tasks'])} ({words}): {one['mean']:+.2%} beside "
                    f"{one['best_other_mean']:+.2%} of {one['best_other']}, floor {one['floor']:.2%}"
                )
        worse = summary[f"tasks_not_worse_{label}"]
        if worse:
            parts.append(f"tasks_not_worse_{label} = {sum(worse.values())} of {len(worse)}")
    for arm, one in summary["warm_for_less"].items():
        parts.append(
            f"{arm} with {one['budget']:.0%} of the budget, {one['compute']:.0%} of what {rea_arm.COLD} took: "
            f"{one['mean']:+.2%} beside {one['cold']:+.2%} over {len(one['tasks'])}, "
            f"difference {one['difference']:+.2%} ± {one['se']:.2%}"
        )
    for task, room in sorted(summary["headroom"].items()):
        closed = ", ".join(f"{arm} {share:.0%}" for arm, share in room["closed"].items() if share is not None)
        words = "" if room["long"] else ", too few for a long search"
        parts.append(f"head-room of {task}: {room['gain']:+.2%} ({room['runs']} runs{words}); closed: {closed or '–'}")
    if summary["missing"]:
        parts.append("Missing:\n" + "\n".join(f"- {line}" for line in summary["missing"]))
    return "\n\n".join(parts)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, [":--"] * 2 + ["--:"] * (len(head) - 2), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2%}"


def _place(arm: str) -> tuple[int, str]:
    return (ORDER.index(arm) if arm in ORDER else len(ORDER) + (arm == POOLED), arm)


def plot(summary: Mapping[str, Any]) -> str:
    """An SVG that stands alone: a panel for each task, a whisker for each arm, gain on the sealed split in per cent."""
    from rea.report.charts import Scale, ticks

    by_task, names = summary["by_task"], sorted(summary["by_task"], key=_place)
    panels = [(task, [arm for arm in names if task in by_task[arm]]) for task in summary["tasks"]]
    values = [
        cell["gain"] + side * 1.96 * cell["se"] for own in by_task.values() for cell in own.values() for side in (-1, 1)
    ]
    if not values:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>\n'
    x = Scale(min(0.0, *values) * 100 - 0.1, max(0.0, *values) * 100 + 0.1, 150, 720)
    body, y = [], 24
    for task, present in panels:
        body.append(_text(10, y, task, "bold"))
        for arm in present:
            y += 18
            cell, colour = by_task[arm][task], COLOURS[min(_place(arm)[0], len(COLOURS) - 1)]
            low, high = (x(100 * (cell["gain"] + side * 1.96 * cell["se"])) for side in (-1, 1))
            at = x(100 * cell["gain"])
            body.append(_text(24, y + 4, arm))
            body.append(f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{colour}" stroke-width="2"/>')
            body.append(
                f'<circle cx="{at:.1f}" cy="{y}" r="4" fill="{colour}"><title>{cell["gain"]:+.2%}</title></circle>'
            )
        y += 30
    grid = [
        f'<path d="M{x(tick):.1f} 14V{y - 10}" stroke="{"#333" if tick == 0 else "#ddd"}"/>'
        + _text(x(tick) - 8, y + 6, f"{tick:g}")
        for tick in ticks(x.low, x.high, 8)
    ]
    grid.append(_text(150, y + 26, "gain in NE over the baseline on the sealed split, %, with 95 % interval"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="740" height="{y + 40}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        + "".join([*grid, *body, "</svg>\n"])
    )


def _text(x: float, y: float, words: str, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-weight="{weight}">{escape(words)}</text>'
