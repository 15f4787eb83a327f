"""Write the tables of README.md from benchmarks/results: `.venv/bin/python benchmarks/readme.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    tables = (headline, campaigns, null, footprint, endurance, trouble, speed)
    several = {
        endurance: ("crash_sweep", "simulation", "latency", "scale"),
        trouble: ("battery", "overspend", "escape"),
    }
    for name, table in ((table.__name__, table) for table in tables):
        found = together(*several[table]) if table in several else read(name)
        body = "No figures yet." if found is None else table(found)
        begin, end = f"<!-- results:begin {name}.json -->", f"<!-- results:end {name}.json -->"
        text = re.sub(f"{begin}.*?{end}", lambda _, b=f"{begin}\n{body}\n{end}": b, text, flags=re.DOTALL)
    readme.write_text(text, encoding="utf-8")


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def together(*names: str) -> dict[str, Any] | None:
    """What several benchmarks measure, where all of them were run."""
    found = {name: read(name) for name in names}
    return None if None in found.values() else found


def headline(found: dict[str, Any]) -> str:
    """Gains by task and arm, their mean over the tasks that the arm has, and REA beside the best other arm."""
    summary = found["summary"]
    tasks, arms = summary["tasks"], sorted(summary["by_task"], key=lambda arm: (arm.startswith("rea-"), arm))
    arms = [arm for arm in arms if arm != "pooled"]
    lines = ["| arm | " + " | ".join(f"`{task}`" for task in tasks) + " | mean |"]
    lines.append("| :-- |" + " --: |" * (len(tasks) + 1))
    for arm in arms:
        own, mean = summary["by_task"][arm], summary["arms"][arm]
        cells = [f"{own[task]['gain']:+.2%} ± {own[task]['se']:.2%}" if task in own else "–" for task in tasks]
        whole = f"{mean['mean_gain']:+.2%} ± {mean['se']:.2%}" if len(own) == len(tasks) else "–"
        lines.append("| " + " | ".join([arm, *cells, whole]) + " |")
    told = []
    words_of = {"ratio_cold": "without earlier experiments", "ratio_warm": "with those of the other models"}
    for name, words in words_of.items():
        one = summary[name]
        if one is not None:
            told.append(
                f"REA {words}: {one['mean']:+.2%} on average over {len(one['tasks'])} models, {one['ratio']:.1f} times "
                f"the best other arm's {max(one['best_other_mean'], one['floor']):+.2%} ({one['best_other']})."
            )
    told += [
        f"With those of the other models and {one['budget']:.0%} of the budget: {one['mean']:+.2%}, without them "
        f"and with all of it {one['cold']:+.2%} ({len(one['tasks'])} models)."
        for one in summary["warm_for_less"].values()
    ]
    told.append(_elsewhere(summary, tasks, arms))
    mine = [one for one in found["verdicts"] if one["arm"].startswith("rea-")]
    idle = sum(one["launched"] is False for one in mine)
    told.append(
        f"An arm that keeps the baseline counts as 0. {idle} of REA's {len(mine)} searches proposed no launch; what "
        "they would have picked counts all the same."
    )
    if summary["missing"]:
        told.append(f"Incomplete: {len(tasks)} models so far, few searches each, and not every arm on all of them.")
    return "\n".join([*lines, "", *told])


def _elsewhere(summary: dict[str, Any], tasks: list[str], arms: list[str]) -> str:
    """The means without the models on Frappe, which make most of the others."""
    rest = [task for task in tasks if not task.startswith("frappe")]
    means = {
        arm: sum(summary["by_task"][arm][task]["gain"] for task in rest) / len(rest)
        for arm in arms
        if all(task in summary["by_task"][arm] for task in rest)
    }
    best = max((arm for arm in means if not arm.startswith("rea-")), key=lambda arm: means[arm])
    told = ", ".join(f"{arm} {mean:+.2%}" for arm, mean in means.items() if arm.startswith("rea-") or arm == best)
    return f"Without the models on Frappe: {told}."


def campaigns(found: dict[str, Any]) -> str:
    head = "| campaign | budget | verdict | gain | 95 % interval | estimated, core-min | spent, core-min | wall, min |"
    lines = [head, "| :-- | --: | :-- | --: | :-- | --: | --: | --: |"]
    for name, row in sorted(found["tasks"].items()):
        gain = "–" if row["gain"] is None else f"{row['gain']:+.2%} on {row['split']}"
        interval = "–" if row["gain"] is None else f"{row['ci_low']:+.2%} to {row['ci_high']:+.2%}"
        verdict = (row["verdict"] or row["state"]).replace("_", " ")
        seconds = (row["estimate_s"], row["spent_s"], row["wall_s"])
        cells = [f"`{name}`", row["budget"], verdict, gain, interval, *(f"{value / 60:.1f}" for value in seconds)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def null(found: dict[str, Any]) -> str:
    def share(one: dict[str, Any]) -> str:
        return "–" if one["share"] is None else f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})"

    def error(one: dict[str, Any]) -> str:
        return "–" if one["se"] is None else f"{one['mean']:+.3%} ± {one['se']:.3%}"

    sides = (found["null"], found["gains"])
    lines = ["| simulated campaigns | nothing matters | a few treatments matter |", "| :-- | --: | --: |"]
    rows = [
        ("campaigns", *(str(side["campaigns"]) for side in sides)),
        ("launches proposed", *(share(side["launch_rate"]) for side in sides)),
        ("launched, where one setting gains twice the minimum", "–", share(found["gains"]["launch_power"])),
        ("launches whose true gain is below the minimum", "–", share(found["gains"]["launches_below_minimum"])),
        ("true gain inside the sealed claim's 95 % interval", *(share(side["coverage"]["sealed"]) for side in sides)),
        ("sealed claim minus truth", *(error(side["winners_curse"]["sealed"]) for side in sides)),
        ("what the search believed minus truth", *(error(side["winners_curse"]["search"]) for side in sides)),
    ]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])


def footprint(found: dict[str, Any]) -> str:
    """Who waits, for how many campaigns, and what that takes; then what the sweeps' wakes took."""
    head = "| while jobs train | campaigns | processes | RSS, MiB | PSS, MiB | CPU, of a core |"
    lines = [head, "| :-- | --: | --: | --: | --: | --: |"]
    count, watched = found["campaigns"], found["hibernation"]
    agents = len(watched["other_agent_processes"])
    sizes = "– | – | –" if agents else "0 | 0 | 0"
    lines.append(f"| REA: processes of the agent | {count} | {agents} | {sizes} |")
    for name, row in found["parties"].items():
        who = {"rea daemon": "REA: `rea daemon`, where one is wanted"}.get(name, name)
        cells = [who, str(row["campaigns"]), str(row["processes"]), f"{row['rss_mib']:.1f}", f"{row['pss_mib']:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{row['core_share']:.3%}"]) + " |")
    lines += [f"| {name} | – | – | – | – | {why} |" for name, why in found["missing"].items()]
    one, own = found["one"], found["parties"]["rea daemon"]["core_share"]
    told = (
        f"Over {watched['wall_s'] / 60:.0f} minutes, the jobs themselves not counted. The wakes that the daemon's "
        f"sweeps started took {watched['wakes_core_share']:.2%} of a core beside its own {own:.2%}: one that finds "
        f"nothing takes {one['idle_wake_cpu_s']:.3f} CPU-seconds, of which {one['python_start_cpu_s']:.3f} are Python's"
        " start, and each campaign is looked at in full every ten minutes "
        f"({watched['campaigns_looked_at_in_full']} such looks)."
    )
    return "\n".join([*lines, "", told])


def endurance(found: dict[str, Any]) -> str:
    crash, simulated, latency, scale = (found[name] for name in ("crash_sweep", "simulation", "latency", "scale"))
    large, whole = scale["sizes"][-1], simulated["whole"]
    days = f"{simulated['days']:.0f} days on average"
    rows = [
        (
            "`crash_sweep`: a process of a real campaign killed, which then goes on to its end",
            f"{crash['points']} points, {crash['violations']} violations, the same end each time",
        ),
        (
            "`simulation`: campaigns in bad weather, looked at after every commit",
            f"{simulated['seeds']} of {days} and {whole['seeds']} whole ones, "
            f"{simulated['violations'] + whole['violations']} violations",
        ),
        (
            "`latency`: from the end of a job to the submission of the next, with `rea daemon`",
            f"half within {latency['p50_s']:.2f} s, 99 of 100 within {latency['p99_s']:.2f} s ({latency['jobs']} jobs)",
        ),
        (
            f"`latency`: {latency['slots']} slots and jobs of {latency['job_s']:.0f} s, beside `xargs -P2`",
            f"{latency['slot_use_ratio']:.1%} of its speed where runs wait for a slot alone, "
            f"{latency['whole_ratio']:.1%} over a whole campaign",
        ),
        (
            f"`scale`: a wake that records one run beside {large['runs']:,} others",
            f"{large['wall_s']:.2f} s, {large['memory_mib']:.0f} MiB (beside {scale['sizes'][0]['runs']}: "
            f"{scale['sizes'][0]['wall_s']:.2f} s, {scale['sizes'][0]['memory_mib']:.0f} MiB)",
        ),
    ]
    return _seen(rows)


def trouble(found: dict[str, Any]) -> str:
    battery, overspend, escape = (found[name] for name in ("battery", "overspend", "escape"))
    families = ", ".join(f"{part['kinds']} of `{name}`" for name, part in battery["families"].items())
    rows = [
        (
            f"`battery`: {battery['kinds']} kinds of failing trainers ({families}), {battery['seeds']} seeds each",
            f"right class {battery['right_class']:.1%}, right action {battery['right_action']:.1%} (Optuna with "
            f"`catch` and heartbeat {battery['optuna']['right_action']:.1%}, AIDE with a model that mends nothing "
            f"{battery['aide']['right_action']:.1%}); {battery['finished']} of "
            f"{battery['campaigns']} campaigns finished, {battery['escalations_not_owed']} escalations not owed, "
            f"{battery['wasted_share']:.1%} of the budget into failures",
        ),
        (
            "`overspend`: simulated campaigns with overruns, late and double observations, crashes",
            f"{overspend['above']} of {overspend['campaigns']:,} ever above what was approved",
        ),
        (
            "`escape`: hostile paths, patches, overrides, logs, run directories, edits of the store",
            f"{escape['ways_out']} ways out of {escape['attempts']:,} attempts",
        ),
    ]
    return _seen(rows)


def _seen(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| benchmark | seen |", "| :-- | :-- |", *(f"| {what} | {seen} |" for what, seen in rows)])


def speed(found: dict[str, Any]) -> str:
    head = "| model, data | seconds per epoch | FuxiCTR | ratio | test AUC apart by | CPU share of the limit |"
    lines = [head, "| :-- | --: | --: | --: | --: | --: |"]
    for name, case in sorted(found["cases"].items()):
        ours = case["sides"]["reference"]["train"]
        cells = [f"`{name}`", f"{ours:.2f}", f"{ours * case['ratio_train']:.2f}", f"{case['ratio_train']:.2f}×"]
        lines.append(
            "| " + " | ".join([*cells, f"{case['auc_difference']:.4f}", f"{case['share_of_limit_cpu']:.2f}"]) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
