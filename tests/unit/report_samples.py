"""A campaign as it could have been, for the tests of reports and of the preflight checklist."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from rea.domain.campaign import Approval, Campaign, Event, PlanRecord
from rea.domain.claim import Claim
from rea.domain.codebase import (
    Codebase,
    ConfigStyle,
    Guardrail,
    Knob,
    KnobType,
    LauncherChoice,
    Objective,
    Resources,
)
from rea.domain.codec import canonical, digest
from rea.domain.hypothesis import Belief, Hypothesis, HypothesisDraft, HypothesisKind, Source, SourceKind
from rea.domain.ledger import Entry, EntryKind, Purse
from rea.domain.plan import Baseline, Estimate, Finding, LeftOut, PhasePlan, Plan, PlannedHypothesis, Rules
from rea.domain.run import Attempt, Failure, Reading, Run, RunDraft, RunResult
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    Phase,
    PlanState,
    RunState,
    Verdict,
)
from rea.domain.treatment import Treatment
from rea.report.view import View

START = 1_790_000_000.0
SEARCH_SEEDS, FRESH_SEEDS = (11, 12, 13), (101, 102, 103, 104, 105)
HOSTILE = "RuntimeError: </pre><script>alert(1)</script> \x1b[31m| `a` @team #1 https://x.example ![x](y) \x00\u202e"

LR = Treatment({"optim.embedding_lr": 0.004})
DROPOUT = Treatment({"model.embedding_dropout": 0.15})
INTERACTION = Treatment({"model.interaction": "dcnv2", "model.cross_layers": 3})
NUMERIC = Treatment({"features.numeric_encoding": "ple"})
EMA = Treatment({"optim.ema_decay": 0.999})
WIDE = Treatment({"model.embedding_dim": 64})
PAIRWISE = Treatment({"loss.pairwise_weight": 0.2})
GATE = Treatment(patch="--- a/models/gate.py\n+++ b/models/gate.py\n@@ -1,2 +1,3 @@\n x\n-y\n+z <b>&\n+w\n")
BOTH = DROPOUT.on(INTERACTION).on(NUMERIC)
TUNED = Treatment({**BOTH.overrides, "optim.lr": 0.00135, "model.embedding_dropout": 0.22})


def sample_codebase() -> Codebase:
    number = KnobType.FLOAT
    return Codebase(
        name="ads-ranker",
        root="/srv/ads-ranker",
        python=".venv/bin/python",
        train="{python} train.py --config {config} --seed {seed}",
        evaluate="{python} evaluate.py --predictions {run_dir}/predictions_{split}.npy --split {split}",
        config="configs/base.yaml",
        style=ConfigStyle.YAML,
        editable=("models/**",),
        protected=("evaluate.py", "data/**"),
        env=("DATA_ROOT",),
        objective=Objective("ne", "minimize", "valid", "test", 0.0005, (Guardrail("calibration", 0.95, 1.05),)),
        resources=Resources(1, 0, 2 * 1024**3, 600.0),
        launcher=LauncherChoice("local", 2),
        knobs=(
            Knob("optim.lr", "learning_rate", number, 1e-4, 1e-1, True, default=0.001),
            Knob("optim.embedding_lr", "embedding_learning_rate", number, 1e-5, 1e-1, True),
            Knob("optim.ema_decay", "ema_decay", number, 0.0, 0.9999),
            Knob("model.embedding_dropout", "embedding_dropout", number, 0.0, 0.5, default=0.0),
            Knob("model.interaction", "interaction", KnobType.STR, choices=("mlp", "dcnv2", "dlrm"), default="mlp"),
            Knob("model.cross_layers", "cross_layers", KnobType.INT, 1, 6, default=1),
            Knob("model.embedding_dim", "embedding_dim", KnobType.INT, 4, 128, default=16),
            Knob("features.numeric_encoding", "numeric_encoding", KnobType.STR, choices=("log", "ple"), default="log"),
            Knob("loss.pairwise_weight", "pairwise_weight", number, 0.0, 1.0, default=0.0),
        ),
    )


def _draft(
    title: str,
    because: str,
    treatment: Treatment,
    mean: float,
    sd: float,
    technique: str | None,
    source: tuple[SourceKind, str],
    citation: str = "",
    kind: HypothesisKind = HypothesisKind.SINGLE,
    cost: float = 1.0,
    parents: tuple[int, ...] = (),
) -> HypothesisDraft:
    return HypothesisDraft(
        title=title,
        because=because,
        treatment=treatment,
        effect=Belief(mean, sd),
        kind=kind,
        technique=technique,
        mechanism="regularisation",
        sources=(Source(*source),),
        citations=(citation,) if citation else (),
        cost_factor=cost,
        parents=parents,
    )


_I, _R, _N, _V = SourceKind.INSIGHTS, SourceKind.RESEARCH, SourceKind.ENGINEER, SourceKind.EVIDENCE
DRAFTS = (
    _draft(
        "Three cross layers instead of a plain MLP",
        "the validation curve flattens early while training NE is close: the model lacks explicit crosses",
        INTERACTION, 0.0030, 0.0020, "dcnv2", (_I, "supported in 3 of 4 experiments on similar codebases"),
        "Wang et al. 2021, DCN V2, arXiv:2008.13535", cost=1.25,
    ),
    _draft(
        "Dropout on embeddings",
        "NE on the validation split turns up within the first epoch while training NE keeps falling",
        DROPOUT, 0.0022, 0.0018, "embedding_dropout", (_R, "matches the symptom one-epoch overfit"),
        "Zhang et al. 2022, Towards understanding the overfitting phenomenon of deep CTR models, arXiv:2209.06053",
    ),
    _draft(
        "Piecewise linear encoding of numeric features",
        "twelve of thirty-nine features are raw counts with heavy tails",
        NUMERIC, 0.0015, 0.0015, "ple", (_R, "matches the symptom underfit"),
        "Gorishniy et al. 2022, On embeddings for numerical features, arXiv:2203.05556", cost=1.1,
    ),
    _draft(
        "Higher learning rate for embeddings", "rare ids move too little in one epoch",
        LR, 0.0010, 0.0020, "embedding_lr", (_I, "inconclusive in 2 experiments"),
    ),
    _draft(
        "Weights averaged over training", "the last steps are noisy at a constant learning rate",
        EMA, 0.0008, 0.0008, "ema", (_R, "matches the symptom noisy"), "Izmailov et al. 2018, arXiv:1803.05407",
    ),
    _draft(
        "Embeddings of 64 instead of 16", "asked for by the team", WIDE, 0.0012, 0.0025, "wider_embeddings",
        (_N, "added by anna@example.org"), cost=2.4,
    ),
    _draft(
        "Pairwise loss beside log loss", "most impressions have a clicked neighbour", PAIRWISE, 0.0005, 0.0020,
        "pairwise", (_R, "matches the symptom underfit"), "Lin et al. 2024, arXiv:2403.14144",
    ),
    _draft(
        "Instance-guided gate on the embeddings", "code reading: every feature enters with equal weight", GATE, 0.001,
        0.002, "feature_gate", (_R, "a patch of models/gate.py"), "Wang et al. 2021, MaskNet, arXiv:2102.07619",
    ),
)  # fmt: skip
COMBINED = _draft(
    "Cross layers, dropout and numeric encoding together", "the three supported treatments act on different parts",
    BOTH, 0.0058, 0.0016, None, (_V, "H-1, H-2 and H-3 are supported"), kind=HypothesisKind.COMBINATION,
    parents=(1, 2, 3),
)  # fmt: skip
EXPLOITED = _draft(
    "Tuned: learning rate and dropout of the combination", "Optuna's best of 12 trials", TUNED, 0.0068, 0.0012,
    None, (_V, "warm-started with 30 trials"), kind=HypothesisKind.EXPLOITATION, parents=(9,),
)  # fmt: skip
EFFECTS = (0.0027, 0.0021, 0.0012, -0.0006, 0.0004, 0.0009, -0.0012, 0.0, 0.0056, 0.0066)
STATES = ("supported", "supported", "supported", "refuted", "inconclusive", "failed", "refuted", "failed", "supported")


def sample_plan() -> Plan:
    generator = random.Random(5)
    values = tuple(0.8005 * (1 + generator.gauss(0, 0.0003)) for _ in SEARCH_SEEDS)
    return Plan(
        format=1,
        campaign="autumn-ne",
        codebase=sample_codebase(),
        commit="4f1c2d9a7be03355aa10f2f3c4d5e6f708192a3b",
        codebase_digest="1" * 64,
        signers_digest="2" * 64,
        env={"DATA_ROOT": "/data/criteo"},
        baseline=Baseline(
            seeds=SEARCH_SEEDS,
            values=values,
            mean=math.fsum(values) / 3,
            sd=0.00024,
            noise=0.00042,
            metrics={"ne": 0.8005, "auc": 0.7812, "calibration": 1.004},
            run_s=212.0,
            run_sd_s=9.0,
            device_s=205.0,
            peak_memory_bytes=1_320_000_000,
            epochs=3.0,
        ),
        baseline_values={
            "optim.lr": 0.001,
            "optim.embedding_lr": 0.001,
            "model.embedding_dropout": 0.0,
            "model.interaction": "mlp",
            "model.cross_layers": 1,
            "features.numeric_encoding": "log",
            "model.embedding_dim": 16,
        },
        symptoms=(
            Finding("one_epoch_overfit", 0.86, "validation NE rises after the first epoch while training NE falls",
                    {"best_epoch": 1.0, "rise_after_best": 0.0041, "train_valid_gap": 0.021}),
            Finding("underfit", 0.45, "training NE is still falling at the end of the first epoch",
                    {"slope_per_epoch": -0.0032}),
            Finding("noisy", 0.30, "two seeds differ by as much as many published gains", {"paired_noise": 0.00042}),
        ),
        hypotheses=tuple(
            PlannedHypothesis(number, draft, score=round(0.004 / number, 5)) for number, draft in enumerate(DRAFTS, 1)
        ),
        left_out=(
            LeftOut("Rowwise Adagrad for embeddings", "expected gain per core-hour is below that of every chosen one"),
            LeftOut("Label smoothing", "conflicts with the calibration guardrail"),
        ),
        needs_code=(LeftOut("Target encoding of site_id × app_id", "no knob has the role target_encoding"),),
        rounds=1,
        phases=(
            PhasePlan(1, Phase.VALIDATION, 5200.0, 22, 4100.0, 600.0),
            PhasePlan(1, Phase.COMBINATION, 1800.0, 6, 1450.0, 250.0),
            PhasePlan(1, Phase.EXPLOITATION, 3600.0, 12, 2900.0, 500.0),
            PhasePlan(1, Phase.CONFIRMATION, 2700.0, 10, 2400.0, 200.0),
            PhasePlan(1, Phase.REVEAL, 120.0, 1, 60.0, 20.0),
        ),
        budget_s=16_000.0,
        contingency_s=1500.0,
        profile_s=640.0,
        estimate=Estimate(11_550.0, 870.0, 6200.0),
        rules=Rules(0.0005, 2.0, 120.0, 0.004, 0.3, FRESH_SEEDS, SEARCH_SEEDS),
    )  # fmt: skip


class _Story:
    """Runs and attempts on two slots, one after another, with the ledger kept beside."""

    def __init__(self) -> None:
        self.random = random.Random(11)
        self.free = [START, START]
        self.runs: list[Run] = []
        self.attempts: list[Attempt] = []
        self.entries = [Entry(EntryKind.APPROVE, 1500.0, START, note="profile")]

    def attempt(self, run: int, number: int, seconds: float, failure: Failure | None = None) -> None:
        lane = 0 if self.free[0] <= self.free[1] else 1
        start = self.free[lane] + self.random.uniform(2, 12)
        self.free[lane] = start + seconds
        ident = len(self.attempts) + 1
        purse = Purse.CONTINGENCY if number > 1 else Purse.MAIN
        outcome = "failed" if failure else "succeeded"
        self.attempts.append(
            Attempt(ident, run, number, f"rea-ab12cd-r{run}-{number}", f"/runs/{run}/{number}", AttemptState.ENDED,
                    424.0, start - 1, outcome, failure, seconds * 0.97, start, start + seconds)
        )  # fmt: skip
        self.entries.append(Entry(EntryKind.RESERVE, 424.0, start - 1, ident, purse))
        self.entries.append(Entry(EntryKind.SETTLE, seconds * 0.97, start + seconds, ident, purse))

    def run(
        self,
        phase: Phase,
        hypothesis: int | None,
        treatment: Treatment,
        seed: int,
        effect: float,
        *,
        cost: float = 1.0,
        state: RunState = RunState.SUCCEEDED,
        failures: tuple[Failure, ...] = (),
    ) -> Run:
        ident = len(self.runs) + 1
        level = 0.8005 * (1 + random.Random(seed).gauss(0, 0.0002))
        value = level * (1 - effect + self.random.gauss(0, 0.00033))
        full = 3 if state is RunState.SUCCEEDED else 1
        curve = tuple(
            Reading(float(epoch), {"ne": value * (1 + 0.004 / epoch) / (1 + 0.004 / 3)}) for epoch in range(1, full + 1)
        )
        seconds = self.random.gauss(212, 6) * cost * full / 3
        result = None
        if state in (RunState.SUCCEEDED, RunState.PRUNED):
            metrics = {"ne": curve[-1].metrics["ne"], "auc": 0.78, "calibration": 1.003}
            result = RunResult(metrics, curve, "epoch", seconds, seconds * 0.95, 1_300_000_000, full / 3, True)
        draft = RunDraft(f"k{ident}", hypothesis, 1, phase, treatment, seed, 1.0, 212.0, 424.0)
        for number, failure in enumerate(failures, 1):
            self.attempt(ident, number, 40.0, failure)
        if state is not RunState.FAILED:
            self.attempt(ident, len(failures) + 1, seconds)
        run = Run(ident, 3, draft, state, 0.0, result, failures[-1] if state is RunState.FAILED else None)
        self.runs.append(run)
        return run


def _story() -> _Story:
    story = _Story()
    memory = Failure(
        "out-of-memory",
        "resource",
        "The process tree went over its 2.0 GiB limit",
        "RuntimeError: [enforce fail at alloc_cpu.cpp] not enough memory: you tried to allocate 1073741824 bytes.",
    )
    node = Failure("lost-worker", "infrastructure", "The machine restarted while the job ran", None)
    patch = Failure("python-error", "code", "The trainer stopped with an error of its own", HOSTILE)
    for seed in SEARCH_SEEDS:
        story.run(Phase.PROFILE, None, Treatment(), seed, 0.0)
    story.free = [max(story.free) + 1800] * 2
    story.entries.append(Entry(EntryKind.APPROVE, 16_000.0, max(story.free), note="P-2"))
    for number, draft in enumerate(DRAFTS, 1):
        effect, treatment = EFFECTS[number - 1], draft.treatment
        if number in (4, 7):
            story.run(Phase.VALIDATION, number, treatment, 11, effect - 0.003, state=RunState.PRUNED)
            story.run(Phase.VALIDATION, number, treatment, 12, effect)
        elif number == 6:
            story.run(Phase.VALIDATION, number, treatment, 11, effect, state=RunState.FAILED, failures=(memory, memory))
        elif number == 8:
            story.run(Phase.VALIDATION, number, treatment, 11, effect, state=RunState.FAILED, failures=(patch,))
        else:
            for seed in SEARCH_SEEDS:
                failures = (node,) if (number, seed) == (2, 12) else ()
                story.run(Phase.VALIDATION, number, treatment, seed, effect, cost=draft.cost_factor, failures=failures)
    for seed in SEARCH_SEEDS:
        story.run(Phase.COMBINATION, 9, BOTH, seed, EFFECTS[8], cost=1.3)
    for trial in range(12):
        near = Treatment({**TUNED.overrides, "optim.lr": 0.0012 + 0.00003 * trial})
        state = RunState.PRUNED if trial in (1, 4, 9) else RunState.SUCCEEDED
        effect = EFFECTS[9] - 0.0004 * abs(trial - 6)
        story.run(Phase.EXPLOITATION, 10, near, 11 + trial % 3, effect, cost=1.3, state=state)
    for seed in FRESH_SEEDS:
        story.run(Phase.CONFIRMATION, None, Treatment(), seed, 0.0)
        story.run(Phase.CONFIRMATION, 10, TUNED, seed, EFFECTS[9], cost=1.3)
    return story


def _claim(split: str, gain: float, half: float, story: _Story) -> Claim:
    baseline = [r for r in story.runs if r.draft.phase is Phase.CONFIRMATION and r.draft.hypothesis is None]
    treated = [r for r in story.runs if r.draft.phase is Phase.CONFIRMATION and r.draft.hypothesis == 10]
    left = tuple(r.result.metrics["ne"] for r in baseline if r.result)
    right = tuple(value * (1 - gain + d) for value, d in zip(left, (3e-4, -2e-4, 0, 4e-4, -5e-4), strict=True))
    assert len(treated) == 5
    return Claim(
        split=split,
        metric="ne",
        gain=gain,
        ci_low=gain - half,
        ci_high=gain + half,
        seeds=FRESH_SEEDS,
        gains=tuple((a - b) / a for a, b in zip(left, right, strict=True)),
        baseline_values=left,
        treated_values=right,
        se_seeds=0.00018,
        se_rows=0.00031,
        df=6.4,
        baseline_metrics={"ne": 0.80051, "auc": 0.78120, "calibration": 1.0042},
        treated_metrics={"ne": 0.79533, "auc": 0.78694, "calibration": 1.0018},
        guardrails_hold=True,
        floor=0.7641,
        gap_closed=0.142,
    )


def sample_view(stage: str = "launch") -> View:
    """A whole campaign, at one stage of its life; `_at_stage` lists them."""
    story, plan = _story(), sample_plan()
    text = canonical(plan)
    record = PlanRecord(2, 3, 1, PlanState.APPROVED, text, digest(text), START + 1300)
    approval = Approval(2, record.digest, "anna@example.org", "-----BEGIN SSH SIGNATURE-----\n…", START + 1900)
    hypotheses = [
        Hypothesis(number, 3, 1, draft, HypothesisState(state), _belief(draft, effect, state), reason)
        for number, (draft, state, effect, reason) in enumerate(
            zip((*DRAFTS, COMBINED), STATES, EFFECTS, _REASONS, strict=False), 1
        )
    ]
    hypotheses.append(
        Hypothesis(10, 3, 1, EXPLOITED, HypothesisState.SUPPORTED, Belief(0.0064, 0.0002), "confirmed on 5 fresh seeds")
    )
    end = max(story.free) + 60
    campaign = Campaign(
        id=3,
        name="autumn-ne",
        codebase=sample_codebase(),
        commit=plan.commit,
        state=CampaignState.FINISHED,
        round=1,
        phase=Phase.DONE,
        created_at=START - 60,
        env={"DATA_ROOT": "/data/criteo"},
        options={},
        incumbent=10,
        verdict=Verdict.LAUNCH,
        visible=_claim("valid", 0.00662, 0.00052, story),
        claim=_claim("test", 0.00647, 0.00081, story),
        reason="the sealed interval lies above zero and the gain above what is worth launching",
        ended_at=end,
    )
    events = tuple(
        Event(number, 3, START + 700 * number, kind, message, {})
        for number, (kind, message) in enumerate(
            [("plan", "plan P-2 drafted"), ("approved", "signed by anna@example.org"), ("phase", "validation begins"),
             ("failure", HOSTILE), ("phase", "combination begins"), ("phase", "confirmation begins")], 1)
    )  # fmt: skip
    whole = View(
        campaign=campaign,
        plan=plan,
        record=record,
        approval=approval,
        hypotheses=tuple(hypotheses),
        runs=tuple(story.runs),
        attempts=tuple(story.attempts),
        entries=tuple(sorted(story.entries, key=lambda entry: entry.at)),
        events=events,
        branch="rea/autumn-ne",
        reproduction="git checkout rea/autumn-ne\npython train.py --config configs/base.yaml --seed 101",
        now=end,
    )
    return _at_stage(whole, stage)


def _belief(draft: HypothesisDraft, effect: float, state: str) -> Belief | None:
    return None if state == "failed" else draft.effect.updated(effect, 0.00042 / math.sqrt(3))


_REASONS = ("gain above noise on three seeds", "gain above noise on three seeds", "gain above noise on three seeds",
            "stopped early, then no gain", "the interval contains zero", "does not fit 2.0 GiB", "below the baseline",
            "the patch does not train", "better than each of its parents")  # fmt: skip


def _at_stage(view: View, stage: str) -> View:
    campaign = replace(view.campaign, verdict=None, ended_at=None, claim=None, visible=None, incumbent=None, reason="")
    none = replace(view, branch=None, reproduction=None)
    match stage:
        case "launch":
            return view
        case "no_launch":
            weak = replace(view.campaign, verdict=Verdict.NO_LAUNCH, reason="the sealed interval contains zero")
            assert weak.claim is not None
            claim = replace(weak.claim, gain=0.00031, ci_low=-0.0005, ci_high=0.00112, gap_closed=None, floor=None)
            return replace(none, campaign=replace(weak, claim=claim))
        case "stopped":
            stopped = replace(campaign, state=CampaignState.STOPPED, reason="stopped by anna@example.org")
            return replace(none, campaign=replace(stopped, ended_at=view.now))
        case "failed":
            failed = replace(campaign, state=CampaignState.FAILED, reason=f"the baseline does not train: {HOSTILE}")
            early = [a for a in view.attempts if a.run <= 2]
            return replace(none, campaign=failed, plan=None, record=None, approval=None, hypotheses=(), runs=(),
                           attempts=tuple(early))  # fmt: skip
        case "profiling":
            profiling = replace(campaign, state=CampaignState.PROFILING, phase=Phase.PROFILE)
            return replace(none, campaign=profiling, plan=None, record=None, approval=None, hypotheses=(), runs=(),
                           attempts=(), entries=(), events=())  # fmt: skip
        case "drafted":
            proposed = tuple(
                replace(h, state=HypothesisState.PROPOSED, belief=None, reason="") for h in view.hypotheses[:8]
            )
            drafted = replace(campaign, state=CampaignState.DRAFTED, phase=Phase.PROFILE)
            return replace(none, campaign=drafted, approval=None, hypotheses=proposed, runs=view.runs[:3],
                           attempts=view.attempts[:3], entries=view.entries[:7], now=START + 1500)  # fmt: skip
    assert stage == "running"
    half = len(view.runs) // 2
    kept = [a for a in view.attempts if a.run <= half]
    last = replace(kept[-1], state=AttemptState.SUBMITTED, ended_at=None, device_s=None, outcome=None, failure=None)
    runs = (*view.runs[: half - 1], replace(view.runs[half - 1], state=RunState.ACTIVE, result=None, failure=None))
    entries = [e for e in view.entries if e.attempt is None or e.attempt <= last.id]
    entries = [e for e in entries if not (e.attempt == last.id and e.kind is EntryKind.SETTLE)]
    return replace(
        none,
        campaign=replace(campaign, state=CampaignState.RUNNING, phase=Phase.VALIDATION),
        runs=runs,
        attempts=(*kept[:-1], last),
        entries=tuple(entries),
        hypotheses=view.hypotheses[:8],
        now=(last.started_at or START) + 100,
    )
