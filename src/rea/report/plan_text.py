"""A plan as an engineer reads it before signing: what was seen, what will be tried, what it costs, what is signed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rea.domain.campaign import Campaign, PlanRecord
from rea.domain.codebase import LEAST_SEEN_IDLE, MOST_IDLE_S, SEEN_IDLE, Codebase
from rea.domain.hypothesis import SourceKind
from rea.domain.ids import say
from rea.domain.plan import Finding, Part, Plan, PlannedHypothesis
from rea.domain.states import Phase
from rea.knowledge.roles import CALIBRATION, mends_calibration
from rea.planner.diagnose import OUTSIDE
from rea.planner.draft import funded
from rea.planner.layout import SEARCH
from rea.planner.profile import noise_range
from rea.planner.rows import Lasting
from rea.report import text
from rea.report.markdown import block, code, plain, table

_ALL = 10_000
_PLAIN = 0.3  # strength of a symptom that is worth a word at the top
_TOLD = 3  # of anything, in a sentence
_BRIEFLY = 10  # hypotheses that are not funded and are told in a line each


def render(plan: Plan, record: PlanRecord | None, campaign: Campaign, *, whole: bool = False) -> str:
    """The plan in Markdown: everything that the signature covers and a reader can judge.

    Hypotheses that the budget does not fund are told in a line each and the last of them counted; with `whole` they are
    told like the others.
    """
    parts = (
        _head(plan, record, campaign),
        _note(plan),
        _price(plan, record),
        _baseline(plan),
        _symptoms(plan),
        _hypotheses(plan),
        _unfunded(plan, campaign, whole),
        _phases(plan),
        _asides(plan),
        _rules(plan),
        _signed(plan, record, campaign),
    )
    return "\n".join(line for part in parts if part for line in [*part, ""]).rstrip() + "\n"


def _head(plan: Plan, record: PlanRecord | None, campaign: Campaign) -> list[str]:
    which = f" {say('P', record.id)}, version {record.version}" if record else ""
    objective = plan.codebase.objective
    aim = "lower" if objective.direction == "minimize" else "higher"
    sealed = (
        f"the sealed split {code(objective.sealed)}" if objective.sealed else "the visible split, as none is sealed"
    )
    count = text.plural(len(plan.hypotheses), "hypothesis", "hypotheses")
    return [
        f"# Plan{which} of campaign {campaign.title} {code(plan.campaign)}",
        "",
        f"Codebase {code(plan.codebase.name)} at commit {code(plan.commit[:12])}. The aim is a {aim} "
        f"{plain(text.metric_name(objective))} on {code(objective.split)}, claimed on {sealed}, and worth "
        f"launching from a relative gain of {text.percent(plan.rules.minimum_gain, sign=False)}. "
        f"{text.capital(count)} in {text.plural(plan.rounds, 'round')}.",
    ]


def _note(plan: Plan) -> list[str]:
    """What a colleague would say of this plan in a minute."""
    out = ["## In short", "", *_what_is_wrong(plan)]
    out += [" ".join(filter(None, [_how_it_is_mended(plan), _what_can_be_told(plan)]))]
    chosen = funded(plan)
    if chosen:
        out += ["", " ".join([_what_comes_first(plan, chosen), _what_comes_later(plan, len(chosen))])]
    aside = _what_is_not_tried(plan)
    return [*out, "", aside] if aside else out


def _what_is_wrong(plan: Plan) -> list[str]:
    strong = [s for s in plan.symptoms if s.strength >= _PLAIN] or list(plan.symptoms[:1])
    if Part.DIAGNOSIS in plan.rules.without:
        return ["The baseline was not diagnosed.", ""]
    if plan.baseline.epochs == 0:
        metric, split = plan.codebase.objective.metric, plan.codebase.objective.split
        silent = f"The trainer prints no reading of {code(metric)} on {code(split)} along the way"
        out = [f"{silent}: its curves tell nothing, and no run can be stopped early.", ""]
        return out + (["What stands out otherwise:", "", *_listed(strong[:_TOLD]), ""] if strong else [])
    if not strong:
        return ["The baseline's curves look healthy, so gains have to come from what its tuning did not touch.", ""]
    told = _listed(strong[:_TOLD])
    left = len(plan.symptoms) - len(told)
    more = f" ({left} more {'is' if left == 1 else 'are'} below)" if left else ""
    return [f"What stands out of the baseline{more}:", "", *told, ""]


def _listed(findings: Sequence[Finding]) -> list[str]:
    return [f"- **{plain(s.name.replace('_', ' '))}**: {plain(s.words)}" for s in findings]


def _how_it_is_mended(plan: Plan) -> str:
    """What is done about a calibration outside its guardrail; empty where it is not."""
    if not any(s.name == OUTSIDE and CALIBRATION in s.numbers for s in plan.symptoms):
        return ""
    able = next((h for h in plan.hypotheses if mends_calibration(h.draft.treatment, plan.codebase)), None)
    if able is None:
        return "No hypothesis mends its calibration alone: what is launched has to do so by itself."
    name = f"{say('H', able.id)} ({plain(able.draft.title[:1].lower() + able.draft.title[1:])})"
    return f"Where the best model does not mend its calibration by itself, {name} is added to it."


def _what_can_be_told(plan: Plan) -> str:
    between, pairs = plan.baseline.split_noise or 0.0, len(plan.rules.confirm_seeds)
    rows = ", the luck of the split's rows included" if between else ""

    def told_by(count: int) -> str:
        rows_sd = math.sqrt(Lasting.of(between, ()).paired_variance(count))
        return f"{text.percent(2 * math.hypot(plan.baseline.noise / math.sqrt(count), rows_sd), sign=False)}"

    said = f"Of one run, only a gain beyond about {told_by(1)} can be told from luck"
    if not pairs:
        return f"{said}{rows}; nothing is claimed in the end, as the plan does without a confirmation."
    return f"{said}; the {pairs} fresh pairs of the confirmation tell one of about {told_by(pairs)}{rows}."


def _what_comes_first(plan: Plan, chosen: Sequence[PlannedHypothesis]) -> str:
    lead = [
        f"{say('H', item.id)} ({plain(item.draft.title[:1].lower() + item.draft.title[1:])}, expected "
        f"{text.spread(item.draft.effect.mean, item.draft.effect.sd)})"
        for item in chosen[:_TOLD]
    ]
    aimed = {s.name for s in plan.symptoms for item in chosen if s.name in item.draft.because}
    why = f", aimed at {text.listing(sorted(n.replace('_', ' ') for n in aimed))}" if aimed else ""
    mechanisms = len({item.draft.mechanism for item in chosen})
    return (
        f"First come {text.listing(lead)}: of {text.plural(len(plan.hypotheses), 'hypothesis', 'hypotheses')} those "
        f"whose run is expected to add most for its price. {text.capital(text.plural(len(chosen), 'run'))} alone are "
        f"funded, by {text.plural(mechanisms, 'mechanism')}{why}."
    )


def _what_comes_later(plan: Plan, alone: int) -> str:
    known = sum(s.kind is SourceKind.INSIGHTS for h in plan.hypotheses for s in h.draft.sources)
    sources = (
        f"Earlier experiments speak of {text.plural(known, 'hypothesis', 'hypotheses')}; the rest rests on literature."
        if known
        else "No earlier experiment speaks of any of them: what is expected is the literature's word alone."
    )
    runs = {kind: round(sum(p.runs for p in plan.phases if p.phase is kind)) for kind in SEARCH}
    sets, tuned, singly = runs[Phase.COMBINATION], runs[Phase.EXPLOITATION], runs[Phase.VALIDATION] - alone
    later = [f"about {text.plural(sets, 'run')} of what goes together"] if sets else []
    later += [f"{tuned} of tuning the best"] if tuned else []
    later += [f"{singly} of hypotheses alone in later rounds"] if plan.rounds > 1 and singly > 0 else []
    return " ".join(filter(None, [f"Then come {text.listing(later)}." if later else "", sources, _how_gains_add(plan)]))


def _how_gains_add(plan: Plan) -> str:
    """What earlier combinations showed of the pairs that this plan may combine, those first that add up least."""
    here = {h.draft.technique for h in plan.hypotheses if h.draft.technique}
    known = {key: kept for key, kept in plan.additivity.pairs.items() if here.issuperset(key.split(" + "))}
    if not known:
        return ""
    least = sorted(known.items(), key=lambda pair: (pair[1], pair[0]))[:_TOLD]
    told = [f"{plain(key)} {text.percent(kept, sign=False, digits=0)}" for key, kept in least]
    return f"Of the smaller gain of a pair, earlier combinations kept: {text.listing(told)}."


def _what_is_not_tried(plan: Plan) -> str:
    out = []
    if plan.left_out:
        reasons = Counter(item.reason.split(":")[0].replace("_", " ") for item in plan.left_out).most_common(2)
        told = text.listing([f"{plain(reason)} ({count})" for reason, count in reasons])
        count = len(plan.left_out)
        stays = "stays" if count == 1 else "stay"
        out.append(f"{text.capital(text.plural(count, 'idea'))} of the cards {stays} out, mostly because {told}.")
    if plan.needs_code:
        names = text.listing([plain(item.title) for item in plan.needs_code[:_TOLD]])
        out.append(f"{len(plan.needs_code)} more need code that is not there, {names} among them.")
    if plan.rules.without:
        out.append(f"This plan does without {text.listing([part.value for part in plan.rules.without])}.")
    return " ".join(out)


def _price(plan: Plan, record: PlanRecord | None) -> list[str]:
    codebase, estimate = plan.codebase, plan.estimate
    low, high = estimate.interval
    error = text.device_amount(estimate.sd_s, text.device_unit(estimate.device_s, codebase)[0])
    slots = text.plural(codebase.launcher.slots, "slot")
    kept_s = max(0.0, plan.budget_s - plan.profile_s - plan.contingency_s - sum(p.budget_s for p in plan.phases))
    out = [
        "## Price",
        "",
        f"**{text.device_time(estimate.device_s, codebase)}** ± {error} expected (90 % interval "
        f"{text.device_range(low, high, codebase)}), about {text.duration(estimate.wall_s)} of wall time on {slots}. "
        f"The signature approves **{text.device_time(plan.budget_s, codebase)}**; of these "
        f"{text.device_time(plan.contingency_s, codebase)} are for retries after infrastructure failures only, and "
        f"{text.device_time(plan.profile_s, codebase)} are already spent on the profile. What no phase is granted, "
        f"{text.device_time(kept_s, codebase)}, stays free for the wall-time limit of the last run.",
    ]
    times = _times(plan, record)
    if times:
        out += ["", " ".join(times)]
    if high > plan.budget_s:
        out += ["", "Where it would come to more than is approved, the last hypotheses are not tried."]
    return out


def _times(plan: Plan, record: PlanRecord | None) -> list[str]:
    """Until when the plan may be started, and by when the campaign is to have ended, in words."""
    out = []
    if plan.per_day_s is not None:
        out.append(f"It begins to use at most **{text.device_time(plan.per_day_s, plan.codebase)}** a day (UTC).")
    team = plan.codebase.team
    if team is not None:
        for limit_s, span in ((team.per_day_s, "day"), (team.per_month_s, "month")):
            if limit_s is not None:
                amount = text.device_time(limit_s, plan.codebase)
                out.append(f"With all of team {team.name} it begins to use at most **{amount}** a {span} (UTC).")
    if plan.start_by is not None:
        out.append(f"Its signature lets it be started until {text.moment(plan.start_by)}.")
    if plan.finish_by is not None:
        out.append(
            f"It is to have ended by **{text.moment(plan.finish_by)}**: the search stops in time for the confirmation, "
            "whatever is left to try."
        )
        left_s = plan.finish_by - record.created_at if record is not None else plan.estimate.wall_s
        if left_s < plan.estimate.wall_s:
            out.append(
                f"**That leaves {text.duration(max(0.0, left_s))}** from when this plan was written, less than all of "
                "it takes."
            )
    return out


def _baseline(plan: Plan) -> list[str]:
    baseline, objective = plan.baseline, plan.codebase.objective
    rows = [(str(seed), text.number(value)) for seed, value in zip(baseline.seeds, baseline.values, strict=False)]
    seeds = max(1, len(plan.rules.search_seeds))
    noise, error = baseline.noise, baseline.noise / seeds**0.5
    low, high = noise_range(baseline)
    run, spread = text.duration(baseline.run_s), text.duration(baseline.run_sd_s)
    metrics = ", ".join(f"{name} {text.number(value)}" for name, value in sorted(baseline.metrics.items()))
    return [
        "## The baseline",
        "",
        f"{text.capital(plain(text.metric_name(objective)))} is **{text.number(baseline.mean)}** over "
        f"{text.plural(len(baseline.seeds), 'seed')}, with a standard deviation of {text.number(baseline.sd)}. "
        f"The noise of one paired gain is {text.percent(noise, sign=False)} (80 % interval "
        f"{text.percent(low, sign=False)} to {text.percent(high, sign=False)}): over {text.plural(seeds, 'seed')} the "
        f"standard error of a gain is {text.percent(error, sign=False)}. A run takes {run} (± {spread}), "
        f"{text.device_time(baseline.device_s, plan.codebase)} and "
        f"{text.memory(baseline.peak_memory_bytes)} at its peak. At its end: {plain(metrics)}.",
        "",
        *table(("Seed", plain(text.metric_name(objective))), "rr", rows),
    ]


def _symptoms(plan: Plan) -> list[str]:
    if Part.DIAGNOSIS in plan.rules.without:
        return ["## Symptoms", "", "None were looked for."]
    if not plan.symptoms:
        return ["## Symptoms", "", "None: its curves look healthy."]
    rows = [
        (
            plain(symptom.name.replace("_", " ")),
            text.share(symptom.strength),
            plain(symptom.words),
            plain(
                ", ".join(f"{name.replace('_', ' ')} {text.figure(value)}" for name, value in symptom.numbers.items())
            ),
        )
        for symptom in plan.symptoms
    ]
    return ["## Symptoms", "", *table(("Symptom", "Strength", "What was seen", "Numbers"), "lrll", rows)]


def _hypotheses(plan: Plan) -> list[str]:
    if not plan.hypotheses:
        return ["## Hypotheses", "", "None."]
    chosen = funded(plan)
    title = "## Hypotheses, in the order in which they are tried"
    if not chosen:
        return [title, "", "The first validation cannot pay for a run of any."]
    out = [title, "", *_in_full(chosen), ""]
    return [
        *out,
        "The score is what one run is expected to add to the final choice, in per cent per baseline run: its gain "
        "where the run shows one, nothing where it does not. As many run at a time as there are slots, and each result "
        "may change what comes next.",
    ]


def _unfunded(plan: Plan, campaign: Campaign, whole: bool) -> list[str]:
    chosen = {item.id for item in funded(plan)}
    waiting = [item for item in plan.hypotheses if item.id not in chosen]
    if not waiting:
        return []
    later = " Later rounds choose anew, from what was learnt." if plan.rounds > 1 else ""
    out = ["## Not funded at this budget", ""]
    out += [f"What is saved by runs that are stopped early goes to the next of these, in this order.{later}", ""]
    if whole:
        return [*out, *_in_full(waiting)]
    out += [_briefly(item) for item in waiting[:_BRIEFLY]]
    if len(waiting) > _BRIEFLY:
        listed = f"{code(f'rea hypothesis list {campaign.title}')}, or {code(f'rea plan show {campaign.title} --all')}"
        out += ["", f"and {len(waiting) - _BRIEFLY} more: {listed}"]
    return out


def _in_full(items: Sequence[PlannedHypothesis]) -> list[str]:
    rows = [
        (
            say("H", item.id),
            plain(item.draft.title),
            plain(item.draft.because),
            text.spread(item.draft.effect.mean, item.draft.effect.sd),
            f"× {item.draft.cost_factor:.2f}",
            text.figure(item.score * 100),
        )
        for item in items
    ]
    head = ("", "Hypothesis", "Why", "Expected gain", "Cost of a run", "Score")
    return [*table(head, "lllrrr", rows, limit=_ALL), "", *(line for item in items for line in _sources(item))]


def _briefly(item: PlannedHypothesis) -> str:
    draft = item.draft
    gain = text.spread(draft.effect.mean, draft.effect.sd)
    kinds = text.listing(list(dict.fromkeys(source.kind.value for source in draft.sources)))
    said = f"{plain(draft.title)}: {_changed(item)}; expected gain {gain}, cost of a run × {draft.cost_factor:.2f}"
    return f"- **{say('H', item.id)}** {said}" + (f", from {kinds}" if kinds else "")


def _changed(item: PlannedHypothesis) -> str:
    settings = sorted(item.draft.full.overrides.items())
    knobs = ", ".join(f"{code(name)} → {code(text.setting(value))}" for name, value in settings)
    return f"sets {knobs or 'no knob'}" + (", with a patch" if item.draft.full.patch else "")


def _sources(item: PlannedHypothesis) -> list[str]:
    draft = item.draft
    where = "; ".join([*(f"{source.kind.value}: {source.note}" for source in draft.sources), *draft.citations])
    said = f" {text.capital(plain(where)).rstrip('.')}." if where else ""
    out = [f"- **{say('H', item.id)}** {_changed(item)}.{said}"]
    if draft.full.patch:
        out += ["", "  Its patch:", "", *(f"  {line}" for line in block(draft.full.patch, "diff"))]
    return out


def _phases(plan: Plan) -> list[str]:
    if not plan.phases:
        return []
    divisor, unit = text.device_unit(max(phase.budget_s for phase in plan.phases), plan.codebase)
    rows = [
        (
            str(phase.round),
            phase.phase.value,
            text.device_amount(phase.budget_s, divisor),
            f"{text.device_amount(phase.expected_s, divisor)} ± {text.device_amount(phase.sd_s, divisor)}",
            f"{phase.runs:.0f}",
        )
        for phase in plan.phases
    ]
    head = ("Round", "Phase", f"Budget, {unit}", f"Expected, {unit}", "Expected runs")
    return ["## Phases", "", *table(head, "rlrrr", rows, limit=_ALL)]


def _asides(plan: Plan) -> list[str]:
    out: list[str] = []
    for title, items in (("Left out", plan.left_out), ("Needs code", plan.needs_code)):
        if items:
            out += ["", f"## {title}", "", *(f"- **{plain(item.title)}**: {plain(item.reason)}" for item in items)]
    return out[1:]


def _silence(codebase: Codebase) -> str:
    own_s = codebase.resources.idle_s
    if own_s is not None:
        return text.duration(own_s)
    seen = f"{SEEN_IDLE:g} times as long as the baseline ever did and for a quarter of its predicted time"
    return f"{seen} (beyond {text.duration(MOST_IDLE_S)}: for {LEAST_SEEN_IDLE:g} times as long as the baseline)"


def _rules(plan: Plan) -> list[str]:
    rules, codebase = plan.rules, plan.codebase
    out = [
        "## What binds the campaign",
        "",
        f"- Spent and reserved together stay within {text.device_time(plan.budget_s, codebase)}; from "
        f"{text.share(rules.warn_at)} on no new hypothesis starts.",
        f"- A run may take {rules.walltime_factor:g} times its predicted time, at least "
        f"{text.duration(rules.walltime_floor_s)} and at most {text.duration(codebase.resources.walltime_s)}; "
        f"the retry cap is {rules.retry_cap}.",
        f"- A run that neither uses a core nor writes a word for {_silence(codebase)} has hung, and is ended.",
        f"- A run is stopped early, from {text.share(rules.stop_from)} of the baseline's curve on, when it is more "
        f"than {text.percent(rules.stop_tolerance, sign=False)} worse than the baseline of its seed (wider early on).",
        f"- Search uses the seeds {_seeds(rules.search_seeds)}; confirmation uses the fresh seeds "
        f"{_seeds(rules.confirm_seeds)}.",
    ]
    for guardrail in codebase.objective.guardrails:
        low = f"at least {text.figure(guardrail.minimum)}" if guardrail.minimum is not None else ""
        high = f"at most {text.figure(guardrail.maximum)}" if guardrail.maximum is not None else ""
        out.append(f"- {code(guardrail.metric)} stays {text.listing([part for part in (low, high) if part])}.")
    editable = text.listing([code(pattern) for pattern in codebase.editable]) or "nothing"
    kept = text.listing([code(pattern) for pattern in codebase.protected])
    out.append(f"- A patch may change {editable}" + (f", and never {kept}." if kept else "."))
    if codebase.evaluate:
        out.append(f"- Metrics are recomputed by {code(codebase.evaluate)}, from the pinned commit.")
    else:
        out.append("- Metrics are the trainer's own word: no evaluator is set.")
    resources = codebase.resources
    memory = f", {text.memory(resources.memory_bytes)} of memory" if resources.memory_bytes else ""
    gpus = f", {text.plural(resources.gpus, 'GPU')}" if resources.gpus else ""
    out.append(f"- A run is {code(codebase.train)} on {text.plural(resources.cpus, 'core')}{gpus}{memory}.")
    return out


def _signed(plan: Plan, record: PlanRecord | None, campaign: Campaign) -> list[str]:
    pinned = [
        ("Commit", code(plan.commit)),
        ("Codebase", code(plan.codebase_digest)),
        ("Signers", code(plan.signers_digest)),
        *((f"Variable {code(name)}", code(value)) for name, value in sorted(plan.env.items())),
    ]
    out = ["## What is signed", "", *table(("Pinned", "Value"), "ll", pinned, limit=_ALL)]
    if record:
        out += ["", f"SHA-256 of the plan: {code(record.digest)} ({record.state.value})", ""]
        out += [
            "Any change to the plan, its budget or its guardrails makes another digest and needs another signature."
        ]
    return out


def _seeds(seeds: tuple[int, ...]) -> str:
    return text.listing([str(seed) for seed in seeds]) or "none"
