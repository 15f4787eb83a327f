"""From rows of simulated campaigns, or a store's campaigns, to the figures of a campaign's honesty. Pure but for
`from_store`, which reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rea.domain.states import HypothesisState, Phase
from rea.insights.reliability import LEVELS, Prediction, reliability
from rea.planner.evidence import Evidence

Row = Mapping[str, Any]


def of_null(rows: Sequence[Row]) -> dict[str, Any]:
    """Where nothing matters every launch is a false one."""
    launched = [row for row in rows if row["verdict"] == "launch"]
    revealed = [row for row in rows if row["sealed"] is not None]
    return {
        "campaigns": len(rows),
        "launch_rate": _share(len(launched), len(rows)),
        "launches": [
            {"seed": row["seed"], "claim": row["sealed"], "paired_noise": row["paired_noise"]} for row in launched
        ],
        "revealed_rate": _share(len(revealed), len(rows)),
        "states": _counts(row["state"] for row in rows),
        "coverage": _coverages(rows),
        "winners_curse": _curses(rows),
        "used": _mean([row["used"] for row in rows]),
        "runs": _mean([row["runs"] for row in rows]),
    }


def of_gains(rows: Sequence[Row]) -> dict[str, Any]:
    """Where a few treatments matter: what was found of it, and what was claimed."""
    worth = [row for row in rows if row["best_single"] >= 2 * row["minimum_gain"]]
    launched = [row for row in rows if row["verdict"] == "launch"]
    idle = [row for row in launched if row["truth"] <= 0]
    below = [row for row in launched if row["truth"] < row["minimum_gain"]]
    caught = [row["truth"] / row["best_single"] for row in worth if row["truth"] is not None]
    missing = sum(row["truth"] is None for row in worth)
    return {
        "campaigns": len(rows),
        "worth_launching": len(worth),
        "launch_power": _share(sum(row["verdict"] == "launch" for row in worth), len(worth)),
        "launch_power_by_noise": _by(worth, lambda row: row["noise"], lambda row: row["verdict"] == "launch"),
        "launch_power_by_budget": _by(
            worth, lambda row: float(row["budget"][:-1]), lambda row: row["verdict"] == "launch"
        ),
        "launch_power_by_best_gain": _by(worth, lambda row: row["best_single"], lambda row: row["verdict"] == "launch"),
        "finalist_truth_over_best_single": _mean([*caught, *([0.0] * missing)]),
        "why_not": _counts(_why_not(row) for row in worth if row["verdict"] != "launch"),
        "launch_rate": _share(len(launched), len(rows)),
        "launches_without_gain": _share(len(idle), len(launched)),
        "launches_below_minimum": _share(len(below), len(launched)),
        "states": _counts(row["state"] for row in rows),
        "coverage": _coverages(rows),
        "winners_curse": _curses(rows),
        "used": _mean([row["used"] for row in rows]),
        "runs": _mean([row["runs"] for row in rows]),
    }


def of_predictions(rows: Sequence[Row]) -> dict[str, Any]:
    """Effects as believed before and after their test against the truth, and before it against the measurement."""
    groups: dict[str, dict[str, list[Prediction]]] = {}
    for row in rows:
        for p in row.get("predictions", ()):
            for name in (p["kind"], "all"):
                found = groups.setdefault(name, {"prior": [], "posterior": [], "prior_measured": []})
                found["prior"].append(Prediction(*p["prior"], p["truth"]))
                found["posterior"].append(Prediction(*p["posterior"], p["truth"]))
                if p["measured"] is not None:
                    error = row["paired_noise"] / math.sqrt(p["seeds"])
                    found["prior_measured"].append(Prediction(*p["prior"], p["measured"], error))
    return {name: {which: told(found) for which, found in group.items()} for name, group in sorted(groups.items())}


def from_store(url: str) -> dict[str, Any]:
    """The same of a real store, where nobody knows the truth: the prior against what the search measured, and what the
    search believed of each finalist against what its fresh seeds measured. Raises ReaError for a store that is none."""
    from rea.domain.plan import read_plan
    from rea.store import open_store

    prior: list[Prediction] = []
    final: list[Prediction] = []
    stopped = campaigns = 0
    store = open_store(url)
    try:
        for campaign in store.campaigns():
            record = store.latest_plan(campaign.id)
            if record is None:
                continue
            campaigns += 1
            plan = read_plan(record)
            evidence = Evidence(plan, tuple(store.runs(campaign.id)), tuple(store.hypotheses(campaign.id)))
            known: set[str] = set()
            for h in evidence.hypotheses:
                key = h.draft.full.key()
                if h.belief is None or h.state is HypothesisState.FAILED or key in known:
                    continue
                known.add(key)
                seen = evidence.observed(h)
                if seen:
                    error = plan.baseline.noise / math.sqrt(len(seen))
                    prior.append(Prediction(h.draft.effect.mean, h.draft.effect.sd, _mean(list(seen.values())), error))
                else:
                    stopped += any(run.draft.phase is not Phase.CONFIRMATION for run in evidence.of(h.draft.full))
            finalist = next((h for h in evidence.hypotheses if h.id == campaign.incumbent), None)
            if finalist is not None and campaign.visible is not None:
                believed, claim = evidence.total(finalist.draft.full), campaign.visible
                final.append(
                    Prediction(believed.mean, believed.sd, claim.gain, math.hypot(claim.se_seeds, claim.se_rows or 0))
                )
    finally:
        store.close()
    return {"campaigns": campaigns, "prior_measured": told(prior), "stopped_early": stopped, "finalists": told(final)}


def told(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """A reliability as plain values."""
    found = reliability(predictions)
    if found is None:
        return None
    inside = {f"{level:.0%}": found.inside[level] for level in LEVELS}
    return {**asdict(found), "inside": inside}


def _claims(rows: Sequence[Row], split: str) -> list[tuple[Row, Row]]:
    return [(row, row[split]) for row in rows if row[split] is not None and row["truth"] is not None]


def _coverages(rows: Sequence[Row]) -> dict[str, Any]:
    """The share of claims whose 95 % interval holds the true gain."""
    found = {}
    for split in ("visible", "sealed"):
        claims = _claims(rows, split)
        found[split] = _share(sum(c["low"] <= row["truth"] <= c["high"] for row, c in claims), len(claims))
        found[f"{split}_above"] = _share(sum(row["truth"] < c["low"] for row, c in claims), len(claims))
    return found


def _curses(rows: Sequence[Row]) -> dict[str, Any]:
    """Claim minus truth: of what the search believed, of the visible claim, and of the sealed one."""
    searched = [row["searched"]["mean"] - row["truth"] for row in rows if row.get("searched")]
    found = {"search": _mean_and_error(searched)}
    for split in ("visible", "sealed"):
        found[split] = _mean_and_error([claim["gain"] - row["truth"] for row, claim in _claims(rows, split)])
    return found


def _why_not(row: Row) -> str:
    if row["state"] != "finished":
        return f"{row['state']}: {row['reason'].split(';')[-1].strip()[:40]}"
    if row["truth"] is None:
        return "no incumbent"
    if row["truth"] < row["minimum_gain"]:
        return "the finalist gains less than the minimum"
    return "sealed claim too weak" if row["sealed"] is not None else "visible claim too weak"


def _by(rows: Sequence[Row], by: Callable[[Row], float], hit: Callable[[Row], bool]) -> list[dict[str, Any]]:
    """Shares over thirds of the rows in the order of a number."""
    ordered = sorted(rows, key=by)
    cuts = [round(i * len(ordered) / 3) for i in range(4)]
    thirds = [ordered[low:high] for low, high in itertools.pairwise(cuts) if high > low]
    return [{"from": by(t[0]), "to": by(t[-1]), **_share(sum(map(hit, t)), len(t))} for t in thirds]


def _share(part: int, whole: int) -> dict[str, Any]:
    """A share with its 95 % interval (Wilson, JASA 1927)."""
    if not whole:
        return {"share": None, "of": 0}
    z, p = 1.96, part / whole
    middle = (p + z * z / 2 / whole) / (1 + z * z / whole)
    half = z / (1 + z * z / whole) * math.sqrt(p * (1 - p) / whole + z * z / 4 / whole**2)
    return {"share": p, "of": whole, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _mean_and_error(values: Sequence[float]) -> dict[str, Any]:
    mean = _mean(values)
    if mean is None or len(values) < 2:
        return {"mean": mean, "se": None, "of": len(values)}
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return {"mean": mean, "se": sd / math.sqrt(len(values)), "of": len(values)}


def _counts(words: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))
