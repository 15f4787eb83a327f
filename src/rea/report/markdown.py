"""A campaign's report for a pull request: GitHub-flavoured Markdown, short enough to read in one go.

Words from outside are escaped so that they neither format the page nor mention a person, an issue or an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rea.domain.claim import Claim
from rea.domain.hypothesis import Hypothesis
from rea.domain.ids import say
from rea.domain.plaintext import clean, clean_block
from rea.report import text
from rea.report.facts import Facts, facts, metric_rows, run_counts, seed_rows
from rea.report.headline import interval, prediction_words, standing
from rea.report.view import View

_ROWS = 20
_JOINER = "\u2060"  # takes no room, and keeps GitHub from reading a mention, a reference or an address


def render(view: View) -> str:
    """The whole report, at whatever stage the campaign is."""
    found = facts(view)
    parts = (_head, _changes, _cost, _confirmation, _hypotheses, _symptoms, _predictions, _failures, _asides, _approval)
    lines: list[str] = []
    for part in (*parts, _reproduction):
        written = part(view, found)
        if written:
            lines += [*written, ""]
    return "\n".join(lines).rstrip() + "\n"


def plain(words: str) -> str:
    """Words from outside as one line of Markdown that says them and does nothing else."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", clean(words))
    return re.sub(r"(@|#|://|www\.)", rf"\1{_JOINER}", escaped)


def code(words: str) -> str:
    """A code span, also inside a table; longer runs of backticks than the text holds fence it."""
    words = clean(words).replace("|", "\\|")
    if not words:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words}{pad}{fence}"


def block(words: str, language: str = "") -> list[str]:
    """A fenced block that its content cannot close."""
    words = clean_block(words)
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    return [f"{fence}{language}", *words.split("\n"), fence]


def table(head: Sequence[str], align: str, rows: Iterable[Sequence[str]], limit: int = _ROWS) -> list[str]:
    """A table of cells that are Markdown already; `align` gives l or r for each column."""
    rows = list(rows)
    marks = {"l": ":--", "r": "--:"}
    out = [_row(head), _row([marks[side] for side in align]), *(_row(row) for row in rows[:limit])]
    return out if len(rows) <= limit else [*out, "", f"… and {len(rows) - limit} more in the HTML report."]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(view: View, found: Facts) -> list[str]:
    headline, campaign = found.headline, view.campaign
    out = [f"# {plain(headline.title)}", ""]
    if headline.lead:
        out += [f"**{plain(headline.lead)}.**", ""]
    if headline.words:
        out += [" ".join(plain(sentence) for sentence in headline.words), ""]
    return [*out, f"Campaign {campaign.title} {code(campaign.name)} of {code(campaign.codebase.name)}."]


def _changes(view: View, found: Facts) -> list[str]:
    if found.finalist is None:
        return ["## What changes", "", standing(view)]
    draft = found.finalist.draft
    intro = standing(view)
    out = ["## What changes", "", *([intro, ""] if intro else [])]
    out += [f"**{found.finalist.name}** {plain(draft.title)}: {plain(draft.because)}."]
    rows = [
        (
            code(c.knob),
            plain(c.role or text.NOTHING),
            code(text.setting(c.before)) if c.known else "not recorded",
            code(text.setting(c.after)),
        )
        for c in found.changes
    ]
    if rows:
        out += ["", *table(("Knob", "Role", "Baseline", "New value"), "llrr", rows)]
    if found.patch:
        out += ["", f"And a patch of {text.plural(len(found.patch.splitlines()), 'line')}, on the branch."]
    if view.branch:
        out += ["", f"Branch: {code(view.branch)}"]
    return out


def _cost(view: View, found: Facts) -> list[str]:
    codebase, cost = view.campaign.codebase, found.cost
    if not view.entries and not view.runs:
        return []
    spent, approved = (text.device_time(amount, codebase) for amount in (cost.balance.spent, cost.balance.approved))
    reserved = f", {text.device_time(cost.balance.reserved, codebase)} reserved" if cost.balance.reserved > 0 else ""
    wall = text.duration(cost.wall_s)
    words = (
        f"{spent} spent of {approved} approved{reserved}; {wall} with jobs in flight. {text.capital(run_counts(cost))}."
    )
    out = ["## Cost", "", words]
    most = max((max(use.budget_s or 0.0, use.used_s) for use in cost.phases), default=0.0)
    divisor, unit = text.device_unit(most, codebase)
    rows = [
        (
            str(use.round),
            use.phase.value,
            text.device_amount(use.budget_s, divisor),
            text.device_amount(use.used_s, divisor),
            str(use.runs),
        )
        for use in cost.phases
    ]
    if rows:
        out += ["", *table(("Round", "Phase", f"Granted, {unit}", f"Used, {unit}", "Runs"), "rlrrr", rows)]
    return out


def _confirmation(view: View, found: Facts) -> list[str]:
    out: list[str] = []
    for opened, claim in found.claims:
        first = not out
        out += ["## Confirmation", ""] if first else [""]
        out += _claim(opened, claim, whole=first)
    return out


def _claim(opened: str, claim: Claim, *, whole: bool) -> list[str]:
    rows = ""
    if claim.se_rows is not None:
        rows = f", from the finite split {text.percent(claim.se_rows, sign=False)}"
    head = (
        f"{text.capital(opened)} split {code(claim.split)}: **{text.percent(claim.gain)}**, "
        f"95 % interval {interval(claim)}. Standard error from seeds {text.percent(claim.se_seeds, sign=False)}{rows}."
    )
    seeds = [(str(seed), text.number(a), text.number(b), text.percent(gain)) for seed, a, b, gain in seed_rows(claim)]
    out = [head, "", *table(("Seed", "Baseline", "Treated", "Gain"), "rrrr", seeds)]
    others = [(plain(name), text.number(a), text.number(b)) for name, a, b in metric_rows(claim)]
    if others and whole:
        out += ["", *table(("Metric", "Baseline", "Treated"), "lrr", others)]
    return out


def _hypotheses(view: View, found: Facts) -> list[str]:
    if not found.evidence:
        return []
    rows = []
    # Tables of a pull request are cut off: what was tried comes first, what is believed best of that before the rest.
    tried = sorted(found.evidence, key=lambda item: (item.hypothesis.belief is None, -_believed(item.hypothesis)))
    for item in tried:
        hypothesis, draft = item.hypothesis, item.hypothesis.draft
        now = text.spread(hypothesis.belief.mean, hypothesis.belief.sd) if hypothesis.belief else text.NOTHING
        seen = f"{text.percent(item.mean)} ({text.plural(len(item.gains), 'seed')})" if item.gains else text.NOTHING
        if item.fresh:
            seen += f"; {text.percent(item.fresh_mean)} on {text.plural(len(item.fresh), 'fresh seed')}"
        sources = "; ".join([*(source.kind.value for source in draft.sources), *draft.citations])
        fate = hypothesis.state.value.replace("_", " ") + (f": {hypothesis.reason}" if hypothesis.reason else "")
        expected = text.spread(draft.effect.mean, draft.effect.sd)
        what = f"{plain(draft.title)}" + (f" ({plain(text.shorten(sources, 120))})" if sources else "")
        rows.append((hypothesis.name, what, expected, now, seen, plain(text.shorten(fate, 120))))
    head = ("", "Hypothesis (sources)", "Expected", "Believed when judged", "Mean gain over the baseline", "Fate")
    return ["## Hypotheses", "", *table(head, "llrrrl", rows)]


def _believed(hypothesis: Hypothesis) -> float:
    return hypothesis.belief.mean if hypothesis.belief is not None else 0.0


def _symptoms(view: View, found: Facts) -> list[str]:
    if view.plan is None or not view.plan.symptoms:
        return []
    rows = [
        (
            plain(symptom.name.replace("_", " ")),
            text.share(symptom.strength),
            plain(symptom.words),
            plain(
                ", ".join(f"{name.replace('_', ' ')} {text.figure(value)}" for name, value in symptom.numbers.items())
            ),
        )
        for symptom in view.plan.symptoms
    ]
    return [
        "## Symptoms of the baseline",
        "",
        *table(("Symptom", "Strength", "What was seen", "Numbers"), "lrll", rows),
    ]


def _predictions(view: View, found: Facts) -> list[str]:
    return [prediction_words(found.predictions)] if found.predictions.shown else []


def _failures(view: View, found: Facts) -> list[str]:
    if not found.troubles:
        return []
    rows = []
    for trouble in found.troubles:
        line = f" {code(text.shorten(trouble.failure.line, 120))}" if trouble.failure.line else ""
        what = f"{plain(text.shorten(trouble.failure.message, 120))}{line}"
        rows.append((trouble.run, trouble.hypothesis, what, plain(trouble.failure.runbook), trouble.done))
    head = ("Run", "Of", "What happened", "Runbook", "What was done")
    return ["## What failed and what was done", "", *table(head, "lllll", rows, limit=10)]


def _asides(view: View, found: Facts) -> list[str]:
    items = [("left out", item) for item in found.left_out] + [("needs code", item) for item in found.needs_code]
    if not items:
        return []
    rows = [(plain(item.title), kind, plain(item.reason)) for kind, item in items]
    return ["## Left out, and what needs code", "", *table(("What", "", "Why"), "lll", rows)]


def _approval(view: View, found: Facts) -> list[str]:
    if view.record is None:
        return []
    signed = "not signed"
    if view.approval:
        signed = f"signed by {code(view.approval.signer)} at {text.moment(view.approval.at)}"
    record = view.record
    return [
        "## Approval",
        "",
        f"Plan {say('P', record.id)}, version {record.version}, SHA-256 {code(record.digest)}: {signed}.",
        "",
        f"The record: {plain(text.of_the_record(view.altered))}.",
    ]


def _reproduction(view: View, found: Facts) -> list[str]:
    return ["## Reproduction", "", *block(view.reproduction, "sh")] if view.reproduction else []
