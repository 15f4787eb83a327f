"""A campaign's report as one HTML page that needs nothing else: no network, no script, no second file.

The page is also well-formed XML. Whatever comes from outside (log lines, titles, reasons) is escaped, and the page's
own security policy forbids scripts and every fetch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from rea.domain.claim import Claim
from rea.domain.ids import say
from rea.domain.plaintext import clean, clean_block
from rea.domain.states import AttemptState, Phase
from rea.report import charts, text
from rea.report.facts import Aside, Facts, facts, metric_rows, run_counts, seed_rows
from rea.report.headline import interval, prediction_words, standing
from rea.report.measured import Evidence, Point
from rea.report.style import CSS
from rea.report.view import View

_SHAPES = {
    Phase.PROFILE: "circle",
    Phase.VALIDATION: "circle",
    Phase.COMBINATION: "square",
    Phase.EXPLOITATION: "diamond",
    Phase.CONFIRMATION: "triangle",
    Phase.REVEAL: "circle",
    Phase.DONE: "circle",
}
_EVENTS_SHOWN = 200


def render(view: View) -> str:
    """The page, at whatever stage the campaign is."""
    found = facts(view)
    parts = [
        ("change", "What changes", _changes),
        ("cost", "Cost", _cost),
        ("progress", "Metric against compute", _progress),
        ("hypotheses", "Hypotheses", _hypotheses),
        ("budget", "Budget", _budget),
        ("timeline", "Timeline", _timeline),
        ("symptoms", "Symptoms of the baseline", _symptoms),
        ("predictions", "Predicted and observed effects", _predictions),
        ("failures", "What failed and what was done", _failures),
        ("asides", "Left out, and what needs code", _asides),
        ("confirmation", "Confirmation", _confirmation),
        ("approval", "Approval", _approval),
        ("record", "Record", _record),
        ("reproduce", "Reproduction", _reproduction),
    ]
    written = [(name, title, body) for name, title, make in parts if (body := make(view, found))]
    links = "".join(f'<li><a href="#{name}">{_e(title)}</a></li>' for name, title, _ in written)
    body = "".join(f'<section id="{name}"><h2>{_e(title)}</h2>{inside}</section>' for name, title, inside in written)
    campaign = view.campaign
    name = f"{campaign.codebase.name}, {campaign.name}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8" />'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\" />"
        '<meta name="color-scheme" content="light dark" />'
        f"<title>{_e(found.headline.kind)}: {_e(name)}</title><style>{CSS}</style></head><body><main>"
        f'{_head(view, found)}<nav aria-label="Contents"><ol>{links}</ol></nav>{body}'
        f"<footer>Written by REA on {text.moment(view.now)} for {_e(campaign.title)} of {_e(campaign.codebase.name)}, "
        f"commit <code>{_e(campaign.commit[:12])}</code>.</footer></main></body></html>\n"
    )


def _head(view: View, found: Facts) -> str:
    campaign, headline = view.campaign, found.headline
    rows = [
        charts.Whisker(name, c.ci_low * 100, c.gain * 100, c.ci_high * 100, f"{name} {c.split}: {_in_words(c)}")
        for name, c in found.claims
    ]
    floor = text.minimum_gain(view.plan, campaign.codebase.objective)
    metric = text.metric_name(campaign.codebase.objective)
    figure = charts.interval(rows, floor * 100, f"relative gain in {metric}, %, with 95 % interval")
    lead = f'<p class="lead">{_e(headline.lead)}</p>' if headline.lead else ""
    words = f'<p class="lede">{_e(" ".join(headline.words))}</p>' if headline.words else ""
    where = f"{_e(campaign.codebase.name)} · {_e(campaign.title)} {_e(campaign.name)}"
    return (
        f'<header><p class="kicker">REA report · {where}</p><p class="stamp {headline.tone}">{_e(headline.kind)}</p>'
        f"<h1>{_e(headline.title)}</h1>{lead}{words}{_figure(figure)}{_tiles(view, found)}</header>"
    )


def _tiles(view: View, found: Facts) -> str:
    codebase, balance = view.campaign.codebase, found.cost.balance
    done = sum(found.cost.runs.values())
    claim = view.campaign.claim or view.campaign.visible
    share = "nothing approved"
    if balance.approved > 0:
        share = f"{text.share(balance.spent / balance.approved)} of the approved budget"
    tested = sum(bool(item.gains or item.pruned) for item in found.evidence)
    tiles = [
        (text.device_time(balance.spent, codebase), share),
        (str(done), "run" if done == 1 else "runs"),
        (text.duration(found.cost.wall_s), "with jobs in flight"),
        (f"{tested} of {len(found.evidence)}", "hypotheses tested"),
    ]
    if claim and codebase.objective.guardrails:
        tiles.append(("hold" if claim.guardrails_hold else "broken", "guardrails"))
    inside = "".join(f"<div><dt>{_e(label)}</dt><dd>{_e(value)}</dd></div>" for value, label in tiles)
    return f'<dl class="tiles">{inside}</dl>'


def _changes(view: View, found: Facts) -> str:
    if found.finalist is None:
        return f"<p>{_e(standing(view))}</p>"
    finalist = found.finalist
    rows = [
        (
            _code(c.knob),
            _e(c.role or text.NOTHING),
            _value(c.before) if c.known else "not recorded",
            f"<b>{_value(c.after)}</b>",
        )
        for c in found.changes
    ]
    parents = [say("H", parent) for parent in finalist.draft.parents]
    made_of = f" It builds on {text.listing(parents)}." if parents else ""
    intro = standing(view)
    out = f"<p>{_e(intro)}</p>" if intro else ""
    out += f"<p><b>{_e(finalist.name)}</b> {_e(finalist.draft.title)}: {_e(finalist.draft.because)}.{made_of}</p>"
    if rows:
        out += _table(("Knob", "Role", "Baseline", "New value"), rows, "llrr")
    if found.patch:
        out += f"<h3>Patch</h3>{_block(found.patch)}"
    if view.branch:
        out += f"<p>The change is on the branch {_code(view.branch)}.</p>"
    return out


def _cost(view: View, found: Facts) -> str:
    codebase, cost = view.campaign.codebase, found.cost
    balance = cost.balance
    reserved = f", {text.device_time(balance.reserved, codebase)} reserved" if balance.reserved > 0 else ""
    words = [
        f"<b>{text.device_time(balance.spent, codebase)}</b> spent of {text.device_time(balance.approved, codebase)} "
        f"approved{reserved}; {text.duration(cost.wall_s)} with jobs in flight.",
        f"{text.capital(run_counts(cost))}; {text.plural(cost.attempts, 'attempt')}.",
    ]
    if balance.contingency_spent > 0:
        spent = text.device_time(balance.contingency_spent, codebase)
        words.append(f"Retries after infrastructure failures took {spent} of this.")
    if view.plan:
        estimate = view.plan.estimate
        words.append(
            f"The plan expects {text.device_time(estimate.device_s, codebase)} "
            f"(90 % interval {text.device_range(*estimate.interval, codebase)})."
        )
    divisor, unit = text.device_unit(
        max((max(use.budget_s or 0.0, use.used_s) for use in cost.phases), default=0.0), codebase
    )
    rows = [
        (
            str(use.round),
            _e(use.phase.value),
            text.device_amount(use.budget_s, divisor),
            text.device_amount(use.used_s, divisor),
            text.NOTHING if use.expected_runs is None else f"{use.expected_runs:.0f}",
            str(use.runs),
        )
        for use in cost.phases
    ]
    head = ("Round", "Phase", f"Granted, {unit}", f"Used, {unit}", "Runs expected", "Runs")
    table = _table(head, rows, "llrrrr") if rows else ""
    return f"<p>{' '.join(words)}</p>{table}"


def _progress(view: View, found: Facts) -> str:
    if not found.points:
        return ""
    codebase = view.campaign.codebase
    divisor, unit = text.device_unit(max(point.spent_s for point in found.points), codebase)
    marks = [_mark(point, divisor) for point in found.points]
    band = found.noise * 196 if found.noise else None
    metric = text.metric_name(codebase.objective)
    best = found.best[-1][1] if found.best else None
    words = f"{text.plural(len(marks), 'run')} over {unit}; the best mean gain at the end is {text.percent(best)}"
    svg = charts.scatter(
        marks,
        [(at / divisor, gain * 100) for at, gain in found.best],
        end=max(mark.x for mark in marks) * 1.02,
        band=band,
        worthwhile=text.minimum_gain(view.plan, codebase.objective) * 100,
        x_label=f"compute used when the run ended, {unit}",
        y_label=f"gain in {metric}, %",
        words=words,
    )
    phases = list(dict.fromkeys(point.run.draft.phase for point in found.points if point.kind == "run"))
    kinds = {point.kind for point in found.points}
    legend = [(f"p-{phase.value}", _SHAPES[phase], phase.value) for phase in phases]
    legend += [("p-baseline", "circle", "baseline")] if "baseline" in kinds else []
    legend += [("p-pruned", "ring", "stopped early")] if "pruned" in kinds else []
    legend += [("p-failed", "cross", "failed")] if "failed" in kinds else []
    legend += [("best", "line", "best mean so far")] if found.best else []
    legend += [("band", "bar", "noise")] if band else []
    legend.append(("limit", "line", "worth launching"))
    noise = (
        f" A treatment that does nothing falls within the band (± {text.percent(found.noise * 1.96, sign=False)}) "
        "19 times out of 20."
        if found.noise
        else ""
    )
    caption = (
        "Every run at the compute the campaign had used when it ended, as its relative gain over the baseline trained "
        f"with the same seed; positive is better.{noise} Baselines are drawn against their own mean, runs stopped "
        "early where they were stopped, failures at the lower edge; an arrow there marks a run far below it."
    )
    return _figure(svg, caption, legend)


def _mark(point: Point, divisor: float) -> charts.Mark:
    draft = point.run.draft
    of = "baseline" if draft.hypothesis is None else say("H", draft.hypothesis)
    words = f"{point.run.name}, {of}, {draft.phase.value}, seed {draft.seed}: {text.percent(point.gain)}"
    style, form = {
        "run": (f"p-{draft.phase.value}", _SHAPES[draft.phase]),
        "baseline": ("p-baseline", "circle"),
        "pruned": ("p-pruned", "ring"),
        "failed": ("p-failed", "cross"),
    }[point.kind]
    if point.kind == "failed" and point.run.failure:
        words = f"{point.run.name}, {of}, failed: {point.run.failure.message}"
    elif point.gain is None:
        form = "tick"
    return charts.Mark(point.spent_s / divisor, None if point.gain is None else point.gain * 100, style, form, words)


def _hypotheses(view: View, found: Facts) -> str:
    if not found.evidence:
        return ""
    spans = [
        (belief.mean - belief.sd, belief.mean + belief.sd)
        for item in found.evidence
        for belief in (item.hypothesis.draft.effect, item.hypothesis.belief)
        if belief and math.isfinite(belief.mean) and math.isfinite(belief.sd)
    ]
    low = min([0.0, *(span[0] for span in spans)])
    high = max([1e-6, *(span[1] for span in spans)])
    rows = [_hypothesis(view, item, low, high) for item in found.evidence]
    head = ("", "Hypothesis and sources", "Effect, expected and now", "Gains by seed", "Fate")
    legend = [("prior", "bar", "expected, ± one sd"), ("dot first", "circle", "believed now, ± one sd")]
    note = (
        "Expected and believed effects are relative gains over the model the hypothesis starts from; gains by seed are "
        f"over the baseline with the same seed. The small charts share one scale, {text.percent(low)} to "
        f"{text.percent(high)}, with zero marked."
    )
    return _table(head, rows, "lllrl", "hypotheses") + _legend(legend) + f'<p class="caption">{note}</p>'


def _hypothesis(view: View, item: Evidence, low: float, high: float) -> tuple[str, ...]:
    hypothesis, draft = item.hypothesis, item.hypothesis.draft
    after = hypothesis.belief
    sources = "".join(f"<li>{_e(source.kind.value)}: {_e(source.note)}</li>" for source in draft.sources)
    cited = "".join(f"<li>{_e(citation)}</li>" for citation in draft.citations)
    what = f"<b>{_e(draft.title)}</b><br />{_e(draft.because)}"
    what += f'<ul class="sources">{sources}{cited}</ul>' if sources or cited else ""
    expected, now = draft.effect, (after.mean, after.sd) if after else None
    words = f"{hypothesis.name}: expected {text.spread(expected.mean, expected.sd)}"
    words += f", now {text.spread(*now)}" if now else ", not tested"
    effect = f'<span class="soft">expected</span> {_nowrap(text.spread(expected.mean, expected.sd))}<br />'
    effect += (
        f'<span class="soft">now</span> {_nowrap(text.spread(*now))}'
        if now
        else '<span class="soft">not measured</span>'
    )
    seen = "<br />".join(f"{text.percent(gain)}" for _, gain in item.gains[:8]) or text.NOTHING
    seen += f"<br />and {len(item.gains) - 8} more" if len(item.gains) > 8 else ""
    seen += f"<br />mean {text.percent(item.mean)}" if len(item.gains) > 1 else ""
    if item.fresh:
        again = f"{text.percent(item.fresh_mean)} over {text.plural(len(item.fresh), 'fresh seed')}"
        seen += f'<br /><span class="soft">confirmed</span> {again}'
    seen += f"<br />{item.pruned} stopped early" if item.pruned else ""
    state = hypothesis.state.value
    fate = f'<span class="state s-{state}">{_e(state.replace("_", " "))}</span>'
    fate += f"<br />{_e(hypothesis.reason)}" if hypothesis.reason else ""
    fate += f"<br />{text.device_time(item.used_s, view.campaign.codebase)}" if item.used_s else ""
    return (
        f'<b class="nowrap" id="{_e(hypothesis.name)}">{_e(hypothesis.name)}</b>',
        what,
        charts.belief((expected.mean, expected.sd), now, low, high, words) + effect,
        seen,
        fate,
    )


def _budget(view: View, found: Facts) -> str:
    if not found.burn:
        return ""
    codebase = view.campaign.codebase
    first, last = found.burn[0].at, found.burn[-1].at
    seconds, unit_of_time = _time_unit(last - first)
    most = max(max(burn.approved, burn.spent + burn.reserved) for burn in found.burn)
    divisor, unit = text.device_unit(most, codebase)
    warn_at = view.plan.rules.warn_at if view.plan else 1.0
    levels = [
        charts.Level((b.at - first) / seconds, b.approved / divisor, b.spent / divisor, b.reserved / divisor)
        for b in found.burn
    ]
    end = found.burn[-1]
    words = (
        f"At the end {text.device_time(end.spent, codebase)} spent and {text.device_time(end.reserved, codebase)} "
        f"reserved of {text.device_time(end.approved, codebase)}"
    )
    svg = charts.burndown(levels, warn_at, f"{unit_of_time} since the first entry", unit, words)
    legend = [("spent", "bar", "spent"), ("reserved", "bar", "reserved"), ("approved", "line", "approved")]
    kept = all(burn.spent + burn.reserved <= burn.approved + 1e-6 for burn in found.burn)
    caption = f"Spent and reserved together {'never went' if kept else 'went'} above what was approved."
    if warn_at < 1:
        legend.append(("warn", "line", f"{text.share(warn_at)}: no new hypothesis"))
    return _figure(svg, caption, legend)


def _timeline(view: View, found: Facts) -> str:
    if not found.bars:
        return ""
    start = min(bar.start for bar in found.bars)
    end = max(bar.end for bar in found.bars)
    seconds, unit = _time_unit(end - start)
    spans = []
    for bar in found.bars:
        phase = bar.run.draft.phase.value if bar.run else "done"
        attempt = bar.attempt
        of = "" if bar.run is None or bar.run.draft.hypothesis is None else f", {say('H', bar.run.draft.hypothesis)}"
        open_ = attempt.state is not AttemptState.ENDED
        outcome = "under way" if open_ else attempt.outcome or "ended"
        lasted = text.duration(bar.end - bar.start)
        words = f"{say('R', attempt.run)} attempt {attempt.number}{of}, {phase}, {lasted}, {outcome}"
        spans.append(
            charts.Span(
                bar.lane,
                (bar.start - start) / seconds,
                (bar.end - start) / seconds,
                f"p-{phase}",
                words,
                failed=attempt.failure is not None,
                open=open_,
            )
        )
    lanes = max(span.lane for span in spans) + 1
    words = f"{text.plural(len(spans), 'attempt')} in {text.plural(lanes, 'slot')} over {text.duration(end - start)}"
    svg = charts.gantt(spans, (end - start) / seconds, f"{unit} since the first attempt", words)
    phases = list(dict.fromkeys(bar.run.draft.phase for bar in found.bars if bar.run))
    legend = [(f"bar p-{phase.value}", "bar", phase.value) for phase in phases]
    legend += [("bad", "bar", "failed")] if any(span.failed for span in spans) else []
    legend += [("bar hollow", "bar", "under way")] if any(span.open for span in spans) else []
    caption = f"{text.capital(words)}, from {text.moment(start)}."
    return _figure(svg, caption, legend)


def _symptoms(view: View, found: Facts) -> str:
    if view.plan is None:
        return ""
    baseline, metric = view.plan.baseline, text.metric_name(view.campaign.codebase.objective)
    words = (
        f"<p>The baseline's {_e(metric)} is <b>{text.number(baseline.mean)}</b> over "
        f"{text.plural(len(baseline.seeds), 'seed')} (standard deviation {text.number(baseline.sd)}). "
        f"One paired gain has a noise of {text.percent(baseline.noise, sign=False)}. "
        f"A run takes {text.duration(baseline.run_s)} and {text.memory(baseline.peak_memory_bytes)}.</p>"
    )
    rows = [
        (
            _e(symptom.name.replace("_", " ")),
            text.share(symptom.strength),
            _e(symptom.words),
            "<br />".join(
                f"{_e(name.replace('_', ' '))} {text.figure(value)}" for name, value in symptom.numbers.items()
            ),
        )
        for symptom in view.plan.symptoms
    ]
    if not rows:
        return words + "<p>No symptom was found.</p>"
    return words + _table(("Symptom", "Strength", "What was seen", "Numbers"), rows, "lrlr")


def _predictions(view: View, found: Facts) -> str:
    shown = found.predictions.shown
    if not shown:
        return ""
    marks = []
    for item, p in shown:
        name = item.hypothesis.name
        expected, observed = text.spread(p.mean, p.sd), text.spread(p.observed, p.error)
        words = f"{name}: predicted {expected}, observed {observed}"
        inside = p.inside(charts.WIDEST)
        marks.append(charts.Predicted(name, p.mean * 100, p.sd * 100, p.observed * 100, p.error * 100, inside, words))
    summary = prediction_words(found.predictions)
    svg = charts.predicted(marks, "gain, %", summary)
    caption = (
        "Each hypothesis' effect over the model it starts from, as predicted before its first run and as its runs then "
        "showed it. Whiskers are one standard deviation; on the dashed line a prediction came true exactly."
    )
    legend = [("dot first", "circle", "inside the predicted 95 % interval"), ("dot second", "circle", "outside it")]
    return f"<p>{_e(summary)}</p>{_figure(svg, caption, legend)}"


def _failures(view: View, found: Facts) -> str:
    if not found.troubles:
        return "<p>Nothing failed.</p>" if view.runs else ""
    rows = []
    for trouble in found.troubles:
        line = f"<br /><code>{_e(text.shorten(trouble.failure.line, 300))}</code>" if trouble.failure.line else ""
        what = f"{_e(text.shorten(trouble.failure.message, 300))}{line}"
        kind = f"{_e(trouble.failure.runbook)}<br />{_e(trouble.failure.kind)}"
        rows.append((_nowrap(trouble.run), _nowrap(trouble.hypothesis), what, kind, _e(trouble.done)))
    return _table(("Run", "Of", "What happened", "Runbook", "What was done"), rows, "lllll")


def _asides(view: View, found: Facts) -> str:
    def part(title: str, items: Sequence[Aside]) -> str:
        if not items:
            return ""
        rows = [(_e(item.title), _e(item.reason)) for item in items]
        return f"<h3>{title}</h3>{_table(('What', 'Why'), rows, 'll')}"

    return part("Left out", found.left_out) + part("Needs code", found.needs_code)


def _confirmation(view: View, found: Facts) -> str:
    return "".join(_claim(view, opened, claim) for opened, claim in found.claims)


def _claim(view: View, opened: str, claim: Claim) -> str:
    rows = [
        (str(seed), text.number(before), text.number(after), text.percent(gain))
        for seed, before, after, gain in seed_rows(claim)
    ]
    rows.append(
        (
            f"mean of {len(claim.seeds)}",
            _mean(claim.baseline_values),
            _mean(claim.treated_values),
            f"<b>{text.percent(claim.gain)}</b>",
        )
    )
    errors = f"Standard error from seeds {text.percent(claim.se_seeds, sign=False)}"
    errors += (
        f", from the finite split {text.percent(claim.se_rows, sign=False)}"
        if claim.se_rows is not None
        else "; the evaluator prints no blocks, so the error of the finite split is not known"
    )
    freedom = f"{claim.df:.1f}" if math.isfinite(claim.df) else "∞"
    guard = "All guardrails hold." if claim.guardrails_hold else "A guardrail does not hold."
    guard = guard if view.campaign.codebase.objective.guardrails else ""
    others = [(_e(name), text.number(before), text.number(after)) for name, before, after in metric_rows(claim)]
    return (
        f"<h3>The {opened} split, {_e(claim.split)}</h3><p>Relative gain <b>{text.percent(claim.gain)}</b>, "
        f"95 % interval {interval(claim)}. {errors}; {freedom} degrees of freedom. {guard}</p>"
        f'<div class="pair">{_table(("Seed", "Baseline", "Treated", "Gain"), rows, "rrrr", "last")}'
        f"{_table(('Metric', 'Baseline', 'Treated'), others, 'lrr') if others else ''}</div>"
    )


def _approval(view: View, found: Facts) -> str:
    if view.record is None:
        return "<p>No plan was written, so nothing was signed.</p>" if view.campaign.ended_at else ""
    record = view.record
    rows = [
        ("Plan", f"{say('P', record.id)}, version {record.version}, {_e(record.state.value)}"),
        ("SHA-256", _code(record.digest)),
    ]
    if view.approval:
        rows += [("Signed by", _e(view.approval.signer)), ("At", text.moment(view.approval.at))]
        if view.approval.digest != record.digest:
            rows.append(("Signed digest", f"{_code(view.approval.digest)} (another plan)"))
    else:
        rows.append(("Signed by", "nobody yet"))
    rows.append(("The record", _e(text.of_the_record(view.altered))))
    return _pairs(rows)


def _record(view: View, found: Facts) -> str:
    if not view.events:
        return ""
    shown = view.events[-_EVENTS_SHOWN:]
    rows = [(_nowrap(text.moment(event.at)), _e(event.kind), _e(text.shorten(event.message, 300))) for event in shown]
    cut = (
        f"The last {len(shown)} of {len(view.events)} events"
        if len(shown) < len(view.events)
        else f"All {len(shown)} events"
    )
    return f"<details><summary>{cut}</summary>{_table(('When', 'Kind', 'What'), rows, 'lll')}</details>"


def _reproduction(view: View, found: Facts) -> str:
    return _block(view.reproduction) if view.reproduction else ""


def _in_words(claim: Claim) -> str:
    return f"{text.percent(claim.gain)}, 95 % interval {interval(claim)}"


def _mean(values: Sequence[float]) -> str:
    return text.number(math.fsum(values) / len(values)) if values else text.NOTHING


def _time_unit(seconds: float) -> tuple[float, str]:
    if seconds >= 3 * 86400:
        return 86400.0, "days"
    return (3600.0, "hours") if seconds >= 7200 else (60.0, "minutes")


def _figure(svg: str, caption: str = "", legend: Iterable[tuple[str, str, str]] = ()) -> str:
    if not svg:
        return ""
    words = f"<figcaption>{_e(caption)}</figcaption>" if caption else ""
    return f'<figure><div class="scroll" tabindex="0">{svg}</div>{_legend(legend)}{words}</figure>'


def _legend(items: Iterable[tuple[str, str, str]]) -> str:
    inside = "".join(f"<li>{charts.key(style, form)}{_e(words)}</li>" for style, form, words in items)
    return f'<ul class="legend">{inside}</ul>' if inside else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str, style: str = "") -> str:
    """A table of cells that are HTML already; `align` gives l or r for each column."""
    columns = "".join(f'<th scope="col" class="{side}">{_e(name)}</th>' for name, side in zip(head, align, strict=True))
    body = "".join(
        "<tr>" + "".join(f'<td class="{side}">{cell}</td>' for cell, side in zip(row, align, strict=True)) + "</tr>"
        for row in rows
    )
    inside = f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll" tabindex="0"><table class="{style}">{inside}</table></div>'


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f'<tr><th scope="row">{_e(name)}</th><td>{value}</td></tr>' for name, value in rows)
    return f'<div class="scroll" tabindex="0"><table class="pairs"><tbody>{inside}</tbody></table></div>'


def _block(words: str) -> str:
    return f'<pre tabindex="0"><code>{escape(clean_block(words))}</code></pre>'


def _code(words: str) -> str:
    return f"<code>{_e(words)}</code>"


def _value(value: bool | int | float | str | None) -> str:
    return _code(text.setting(value))


def _nowrap(words: str) -> str:
    return f'<span class="nowrap">{_e(words)}</span>'


def _e(words: str) -> str:
    return escape(clean(words))
