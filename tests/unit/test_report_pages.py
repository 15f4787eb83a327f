"""Reports of campaigns at every stage: nothing breaks, nothing hostile gets through, nothing is fetched."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_samples import HOSTILE, sample_plan, sample_view

from rea.domain.codebase import Knob, KnobType
from rea.domain.hypothesis import Belief
from rea.domain.plaintext import clean
from rea.domain.plan import Finding, PlannedHypothesis
from rea.domain.run import Failure
from rea.domain.states import CampaignState, HypothesisState, PauseReason, Phase, RunState, Verdict
from rea.domain.treatment import Treatment
from rea.planner.draft import funded
from rea.report import html, markdown, plan_text, text
from rea.report.facts import facts
from rea.report.view import View

STAGES = ("launch", "no_launch", "stopped", "failed", "running", "drafted", "profiling")
WHOLE = sample_view()


def parsed(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def check_page(page: str) -> None:
    """Well-formed, no script, nothing that could be fetched, no link but into the page itself."""
    tree = parsed(page)
    for element in tree.iter():
        assert element.tag not in {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "action", "background"}
            assert name != "href" or value.startswith("#")
    style = "".join(element.text or "" for element in tree.iter("style"))
    assert "url(" not in style
    assert "@import" not in style
    anchors = {element.get("href", "")[1:] for element in tree.iter("a")}
    assert anchors <= {element.get("id") for element in tree.iter()}
    assert not re.search(r"\b(nan|inf)\b", page.replace(HOSTILE, "").lower().split("</style>")[1])
    page.encode("utf-8")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_page_and_a_text(stage: str) -> None:
    view = sample_view(stage)
    check_page(html.render(view))
    written = markdown.render(view)
    assert written.startswith("# ")
    assert len(written.splitlines()) <= 150


@pytest.mark.parametrize("render", [html.render, markdown.render])
def test_a_report_is_a_function_of_its_view(render: Any) -> None:
    assert render(sample_view()) == render(sample_view())


def test_the_page_shows_what_the_campaign_claims() -> None:
    words = " ".join("".join(parsed(html.render(WHOLE)).itertext()).replace("\u00a0", " ").split())
    claim = "+0.647 %, 95 % interval +0.566 % to +0.728 %"
    for expected in ("Launch", claim, "optim.lr", "0.00135", "anna@example.org", "out-of-memory",
                     "git checkout rea/autumn-ne", "Rowwise Adagrad", "Target encoding"):  # fmt: skip
        assert expected in words
    assert WHOLE.record is not None
    assert WHOLE.record.digest in words


def test_a_claim_without_a_sealed_split_is_told_once_and_as_the_visible_one() -> None:
    codebase = replace(WHOLE.campaign.codebase, objective=replace(WHOLE.campaign.codebase.objective, sealed=None))
    visible = WHOLE.campaign.visible
    view = replace(WHOLE, campaign=replace(WHOLE.campaign, codebase=codebase, claim=visible, reason="H-10 gains"))
    for page in (html.render(view), markdown.render(view)):
        confirmed = page.split("Confirmation")[-1].split("Approval")[0]
        assert "sealed" not in page.lower()
        assert confirmed.lower().count("visible split") == 1
        assert "+0.662" in confirmed
    both = markdown.render(WHOLE)
    assert "Sealed split `test`" in both
    assert "Visible split `valid`" in both


def test_no_launch_is_said_plainly_with_its_reason() -> None:
    for page in (html.render(sample_view("no_launch")), markdown.render(sample_view("no_launch"))):
        assert "No launch: the gain cannot be told from noise" in page
        assert "sealed interval contains zero" in page


def test_hostile_words_stay_words_on_the_page() -> None:
    failure = Failure(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    runs = tuple(replace(run, failure=failure) if run.failure else run for run in WHOLE.runs)
    drafts = [replace(item.draft, title=HOSTILE, because=HOSTILE, citations=(HOSTILE,)) for item in WHOLE.hypotheses]
    hypotheses = tuple(replace(item, draft=d, reason=HOSTILE) for item, d in zip(WHOLE.hypotheses, drafts, strict=True))
    campaign = replace(WHOLE.campaign, name=HOSTILE, reason=HOSTILE)
    page = html.render(replace(WHOLE, campaign=campaign, runs=runs, hypotheses=hypotheses, branch=HOSTILE))
    check_page(page)
    said = [title.text or "" for title in parsed(page).iter("title")]
    assert any("<script>alert(1)</script>" in words for words in said[1:])  # the title of a mark in a chart


def test_hostile_words_stay_words_in_markdown() -> None:
    written = markdown.render(WHOLE)
    assert "\x1b" not in written
    outside = re.sub(r"(`+).*?\1", "", written)
    assert "<script" not in outside
    assert "@team" not in outside
    said = markdown.plain(HOSTILE)
    assert not re.search(r"(?<!\\)[<>`|\[\]*]", said)
    assert not re.search(r"@\w|#\d|://\w", said)
    assert "\n" not in markdown.plain("a\nb\u2028c\r\n# d")


@given(st.text(alphabet=st.sampled_from("`|\n a<"), max_size=20))
def test_a_code_span_cannot_be_closed_from_inside(words: str) -> None:
    span = markdown.code(words)
    assert "\n" not in span
    assert not re.search(r"(?<!\\)\|", span)
    if span:
        fence = re.match("`+", span)
        assert fence is not None
        inside = span[len(fence.group()) : -len(fence.group())]
        assert fence.group() not in re.findall("`+", inside)


@given(st.text(alphabet=st.sampled_from("`~\n a"), max_size=30))
def test_a_block_cannot_be_closed_from_inside(words: str) -> None:
    first, *inside, last = markdown.block(words)
    assert first == last
    assert not any(line.strip().startswith(first) for line in inside)


def test_a_plan_names_everything_an_engineer_signs() -> None:
    view = sample_view("drafted")
    written = plan_text.render(sample_plan(), view.record, view.campaign)
    for expected in ("H-8", "optim.embedding_lr", "one epoch overfit", "4.44 core-hours", "Label smoothing",
                     "calibration", "Target encoding", "DATA_ROOT", "101, 102, 103, 104 and 105", "+z <b>&",
                     "evaluate.py"):  # fmt: skip
        assert expected in written
    assert view.record is not None
    assert view.record.digest in written
    bare = replace(sample_plan(), symptoms=(), hypotheses=(), left_out=(), needs_code=(), phases=(), env={})
    assert plan_text.render(bare, None, view.campaign)


def test_what_the_budget_does_not_fund_is_told_briefly_and_in_full_where_asked() -> None:
    view, plan = sample_view("drafted"), sample_plan()
    run_s = plan.baseline.device_s
    first = plan.hypotheses[0]
    items = [
        replace(first, id=i, draft=replace(first.draft, title=f"Idea {i}", cost_factor=1.0), score=1 / i)
        for i in range(1, 31)
    ]
    items[1] = replace(items[1], draft=replace(items[1].draft, cost_factor=9.0))  # skipped: it alone costs too much
    items[3] = replace(items[3], score=0.0)
    validation = replace(plan.phases[0], budget_s=3.5 * run_s)
    small = replace(plan, hypotheses=tuple(items), phases=(validation, *plan.phases[1:]))
    assert [item.id for item in funded(small)] == [1, 3, 5]

    brief = plan_text.render(small, view.record, view.campaign)
    tried, _, waiting = brief.partition("## Not funded at this budget")
    assert [f"| H-{i} |" in tried for i in range(1, 8)] == [True, False, True, False, True, False, False]
    assert re.findall(r"^- \*\*H-(\d+)\*\*", waiting, re.MULTILINE) == ["2", "4", *map(str, range(6, 14))]
    assert "expected gain" in waiting and "× 9.00" in waiting and ", from " in waiting
    assert "and 17 more: `rea hypothesis list C-3`" in waiting
    whole = plan_text.render(small, view.record, view.campaign, whole=True)
    assert all(f"| H-{i} |" in whole for i in range(1, 31)) and "more:" not in whole
    assert ".." not in brief

    roomy = replace(small, phases=(replace(validation, budget_s=99 * run_s), *plan.phases[1:]))
    assert [item.id for item in funded(roomy)] == [i for i in range(1, 31) if i != 4]
    nothing = replace(small, phases=(replace(validation, budget_s=0.0), *plan.phases[1:]))
    assert "cannot pay for a run of any" in plan_text.render(nothing, None, view.campaign)


def test_what_the_confirmation_can_tell_counts_the_luck_of_the_rows() -> None:
    plan, campaign = sample_plan(), sample_view("drafted").campaign
    with_rows, without = (
        plan_text.render(replace(plan, baseline=replace(plan.baseline, split_noise=noise)), None, campaign)
        for noise in (0.01, None)
    )
    pairs, noise = len(plan.rules.confirm_seeds), plan.baseline.noise
    assert f"tell one of about {text.percent(2 * noise / pairs**0.5, sign=False)}." in without
    end = 2 * (noise**2 / pairs + 0.01**2 * (0.25 + 1 / pairs)) ** 0.5
    assert f"tell one of about {text.percent(end, sign=False)}, the luck of the split's rows included." in with_rows


def test_what_mends_a_broken_calibration_is_said_where_it_is_broken() -> None:
    plan = sample_plan()
    knob = Knob("calibration", "calibration", KnobType.STR, choices=("none", "platt"), default="none")
    codebase = replace(plan.codebase, knobs=(*plan.codebase.knobs, knob))
    broken = Finding("outside_guardrail", 1.0, "calibration 0.88 is outside 0.95 to 1.05", {"calibration": 0.88})
    draft = replace(plan.hypotheses[0].draft, title="Calibrate scores", treatment=Treatment({"calibration": "platt"}))
    able = (*plan.hypotheses, PlannedHypothesis(77, draft, 0.1))

    def told(**changes: Any) -> str:
        return plan_text.render(replace(plan, codebase=codebase, **changes), None, sample_view("drafted").campaign)

    assert "H-77 (calibrate scores) is added to it" in told(symptoms=(broken,), hypotheses=able)
    assert "No hypothesis mends its calibration alone" in told(symptoms=(broken,))
    assert "mend" not in told(hypotheses=able).partition("## Price")[0]


# Numbers that are none are looked for as words on the page, so no drawn word may look like one.
DRAWN = st.text(max_size=30).filter(lambda words: not re.search("nan|inf", clean(words).lower()))
WORDS = st.one_of(st.just(HOSTILE), DRAWN, st.just("\ud800 \u202e \x00"))
NUMBERS = st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-12, 1e300, 0.8])


def some(items: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A part of the items, in their order."""
    return st.sets(st.integers(0, max(0, len(items) - 1)), max_size=8).map(
        lambda chosen: tuple(item for index, item in enumerate(items) if index in chosen)
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any part of a campaign, in any state, with odd numbers and hostile words where they may stand."""
    runs = []
    for run in draw(some(WHOLE.runs)):
        result = run.result
        if result is not None and draw(st.booleans()):
            result = replace(result, metrics=draw(st.sampled_from([{}, {"ne": draw(NUMBERS)}])), curve=())
        failure = Failure(draw(WORDS), draw(WORDS), draw(WORDS), draw(WORDS)) if draw(st.booleans()) else run.failure
        runs.append(replace(run, state=draw(st.sampled_from(RunState)), result=result, failure=failure))
    hypotheses = []
    for item in draw(some(WHOLE.hypotheses)):
        belief = draw(st.sampled_from([None, item.belief, Belief(draw(NUMBERS), draw(NUMBERS))]))
        state = draw(st.sampled_from(HypothesisState))
        item = replace(item, belief=belief, state=state, reason=draw(WORDS))
        hypotheses.append(replace(item, draft=replace(item.draft, title=draw(WORDS), because=draw(WORDS))))
    claim = WHOLE.campaign.claim
    assert claim is not None
    if draw(st.booleans()):
        claim = replace(
            claim, gain=draw(NUMBERS), ci_low=draw(NUMBERS), baseline_values=(), df=draw(NUMBERS), se_rows=None
        )
    campaign = replace(
        WHOLE.campaign,
        state=draw(st.sampled_from(CampaignState)),
        phase=draw(st.sampled_from(Phase)),
        verdict=draw(st.sampled_from([None, *Verdict])),
        pause_reason=draw(st.sampled_from([None, *PauseReason])),
        incumbent=draw(st.sampled_from([None, 1, 8, 10, 999])),
        claim=draw(st.sampled_from([None, claim])),
        visible=draw(st.sampled_from([None, claim])),
        name=draw(WORDS),
        reason=draw(WORDS),
        ended_at=draw(st.sampled_from([None, WHOLE.now])),
    )
    attempts = tuple(
        replace(
            attempt,
            ended_at=draw(st.sampled_from([None, attempt.ended_at])),
            device_s=draw(st.sampled_from([None, 5.0])),
        )
        for attempt in draw(some(WHOLE.attempts))
    )
    plan = draw(st.sampled_from([None, WHOLE.plan]))
    if plan is not None and draw(st.booleans()):
        plan = replace(
            plan, baseline=replace(plan.baseline, noise=draw(NUMBERS), mean=draw(NUMBERS), values=(0.0, 1.0))
        )
    return replace(
        WHOLE,
        campaign=campaign,
        plan=plan,
        record=draw(st.sampled_from([None, WHOLE.record])),
        approval=draw(st.sampled_from([None, WHOLE.approval])),
        hypotheses=tuple(hypotheses),
        runs=tuple(runs),
        attempts=attempts,
        entries=draw(some(WHOLE.entries)),
        events=draw(some(WHOLE.events)),
        branch=draw(st.sampled_from([None, HOSTILE])),
        reproduction=draw(st.sampled_from([None, f"```\n{HOSTILE}\n```"])),
        now=draw(st.sampled_from([WHOLE.now, 0.0])),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(views())
def test_any_part_of_a_campaign_has_a_sound_report(view: View) -> None:
    check_page(html.render(view))
    markdown.render(view).encode("utf-8")
    if view.plan is not None:
        plan_text.render(view.plan, view.record, view.campaign).encode("utf-8")


def test_gains_are_paired_by_seed() -> None:
    found = facts(WHOLE)
    early = [run for run in WHOLE.runs if run.draft.phase in (Phase.PROFILE, Phase.VALIDATION)]
    values = {(run.draft.hypothesis, run.draft.seed): run.result.metrics["ne"] for run in early if run.result}
    first = found.evidence[0]
    assert [seed for seed, _ in first.gains] == [11, 12, 13]
    for seed, gain in first.gains:
        assert gain == pytest.approx((values[None, seed] - values[1, seed]) / values[None, seed])


def test_the_seeds_that_chose_a_hypothesis_are_never_averaged_with_those_that_confirm_it() -> None:
    found = {item.hypothesis.id: item for item in facts(WHOLE).evidence}
    confirmed = [item for item in found.values() if item.fresh]
    assert confirmed
    phase = {(r.draft.hypothesis, r.draft.seed): r.draft.phase for r in WHOLE.runs}
    for item in found.values():
        of = item.hypothesis.id
        assert all(phase[of, seed] is not Phase.CONFIRMATION for seed, _ in item.gains)
        assert all(phase[of, seed] is Phase.CONFIRMATION for seed, _ in item.fresh)


def test_points_lie_at_the_compute_used_when_their_runs_ended() -> None:
    points = facts(WHOLE).points
    assert [point.spent_s for point in points] == sorted(point.spent_s for point in points)
    total = sum(attempt.device_s or 0.0 for attempt in WHOLE.attempts)
    assert points[-1].spent_s == pytest.approx(total)


def test_bars_of_one_lane_never_overlap() -> None:
    bars = facts(WHOLE).bars
    for bar in bars:
        others = [other for other in bars if other.lane == bar.lane and other is not bar]
        assert all(other.end <= bar.start + 1e-6 or other.start >= bar.end - 1e-6 for other in others)
    assert max(bar.lane for bar in bars) == 1


def test_the_burn_down_ends_where_the_ledger_ends() -> None:
    found = facts(WHOLE)
    last = found.burn[-1]
    assert (last.approved, last.spent, last.reserved) == pytest.approx(
        (found.cost.balance.approved, found.cost.balance.spent, found.cost.balance.reserved)
    )
    assert all(burn.spent + burn.reserved <= burn.approved for burn in found.burn)


# ---------------------------------------------------------------- predictions


def test_the_words_count_what_fell_inside_each_predicted_interval() -> None:
    found = facts(WHOLE).predictions
    assert found.reliability is not None and found.reliability.count == len(found.shown)
    half_widths = {0.5: 0.674, 0.8: 1.282, 0.95: 1.960}
    for level, width in half_widths.items():
        inside = sum(abs(p.observed - p.mean) <= width * math.hypot(p.sd, p.error) for _, p in found.shown)
        for page in (html.render(WHOLE), markdown.render(WHOLE)):
            assert f"{inside} inside the {text.share(level)} one" in page


def test_only_a_prediction_made_before_its_test_counts() -> None:
    """Whoever proposes a treatment that was trained already has seen what it gains."""
    item, prediction = facts(WHOLE).predictions.shown[0]
    first = item.hypothesis
    knowing = replace(first, id=999, draft=replace(first.draft, effect=Belief(prediction.observed, 1e-6)))
    copied = [run for run in WHOLE.runs if run.draft.hypothesis == first.id]
    runs = (*WHOLE.runs, *(replace(r, id=r.id + 900, draft=replace(r.draft, hypothesis=999)) for r in copied))
    again = facts(replace(WHOLE, hypotheses=(*WHOLE.hypotheses, knowing), runs=runs)).predictions
    assert again.reliability == facts(WHOLE).predictions.reliability
    untested = replace(first, id=998, draft=replace(first.draft, treatment=Treatment({"optim.lr": 0.0123})))
    assert facts(replace(WHOLE, hypotheses=(*WHOLE.hypotheses, untested))).predictions == facts(WHOLE).predictions


def test_the_chart_marks_predictions_that_failed() -> None:
    shown = facts(WHOLE).predictions.shown
    item, _ = shown[0]
    first = item.hypothesis
    sure = replace(first, draft=replace(first.draft, effect=Belief(0.5, 1e-6)))
    view = replace(WHOLE, hypotheses=tuple(sure if h.id == first.id else h for h in WHOLE.hypotheses))
    part = html.render(view).split('id="predictions"')[1].split("</section>")[0]
    failed = sum(not p.inside(0.95) for _, p in facts(view).predictions.shown)
    assert failed and part.count('class="dot second" cx') == failed + 1  # and one in the legend
    check_page(html.render(view))
