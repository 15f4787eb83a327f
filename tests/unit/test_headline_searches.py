"""The pure parts of the headline benchmark's searches: spaces, identities, budgets, which work may begin."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.headline import arms, baselines, configs, journal, search, space, tasks, trainer, units  # noqa: E402

TOML = ROOT / "examples" / "ads_ranker" / "rea.toml"
NEUTRAL = trainer.neutral_of(trainer.EXAMPLE)
CROSSING = """
[codebase]
python = "python3"
[knobs]
"optim.lr" = { role = "learning_rate", type = "float", range = [1e-4, 1e-1], log = true }
"train.epochs" = { role = "epochs", type = "int", range = [1, 30] }
"model.wide_part" = { role = "wide_part", type = "bool" }
"features.crosses" = { role = "feature_crosses", choices = ["", "user*ad", "user*ad,slot*ad"] }
"""


def record(ne: float | None, cpu_s: float = 1.0, config: dict[str, Any] | None = None, seed: int = 1) -> dict[str, Any]:
    return {"ne": ne, "cpu_s": cpu_s, "config": config or {}, "seed": seed, "failure": None, "pruned": None}


# ── spaces ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=lambda task: task.name)
def test_every_task_starts_inside_both_spaces(task: tasks.Task):
    start = {**NEUTRAL, **task.start}
    assert space.inside(space.USUAL, start)
    assert space.inside(space.every_knob(TOML, frozenset()), start)


def test_every_knob_of_the_codebase_is_in_the_whole_space_but_calibration_and_choices_without_a_second_option(
    tmp_path: Path,
):
    import tomllib

    knobs = tomllib.loads(TOML.read_text())["knobs"]
    left_out = set(knobs) - set(space.every_knob(TOML, frozenset()))
    assert all(knobs[name]["role"] in {space.CROSSES, *space.SETTLED} for name in left_out)
    path = tmp_path / "rea.toml"
    path.write_text(CROSSING)
    whole = space.every_knob(path, frozenset({"user", "ad"}))
    assert whole == {
        "optim.lr": space.USUAL["optim.lr"],
        "train.epochs": space.Range(1, 30, whole=True),
        "model.wide_part": space.Choice((False, True)),
        "features.crosses": space.Choice(("", "user*ad")),
    }
    assert "features.crosses" not in space.every_knob(path, frozenset({"user"}))


def test_a_baseline_outside_the_space_is_named():
    with pytest.raises(ValueError, match=r"optim\.lr = 5"):
        space.inside(space.USUAL, {**NEUTRAL, **tasks.TASKS["frappe-dcnv2"].start, "optim.lr": 5})


@pytest.mark.parametrize("tuner", ["tpe", "random", "cmaes", "tpe-hyperband", "tpe-all", "smac"])
def test_a_search_asks_for_the_baseline_first_and_a_replay_asks_the_same_again(tuner: str, tmp_path: Path):
    if tuner in ("cmaes", "smac"):
        pytest.importorskip(tuner, reason="pip install -r benchmarks/headline/requirements.txt")
    start = {**NEUTRAL, **tasks.TASKS["frappe-dcnv2"].start}
    kind = search.TUNERS[tuner]
    whole = space.every_knob(TOML, frozenset()) if kind.space == "all" else space.USUAL
    whole = space.numeric(whole) if kind.space == "numeric" else whole
    first = space.inside(whole, start)

    def asked(count: int) -> list[dict[str, Any]]:
        one = search.open_search(kind, whole, first, 3, 12, tmp_path)
        seen = []
        for number in range(count):
            seen.append(one.ask())
            stopped = any(one.stop(epoch, 1.0 - 0.01 * (number % 4) / epoch) for epoch in range(1, 13))
            one.tell(None if stopped else 0.5 + 0.01 * ((number * 7) % 5), pruned=stopped)
        return seen

    seen = asked(14)
    assert seen[0] == first
    assert asked(14) == seen
    assert all(knob.holds(values[name]) for values in seen for name, knob in whole.items())


def test_hyperband_ends_no_run_after_its_first_epoch():
    kind, first = search.TUNERS["tpe-hyperband"], {"optim.lr": 0.01}
    one = search.open_search(kind, {"optim.lr": space.USUAL["optim.lr"]}, first, 0, 12, Path("unused"))
    stopped_at = []
    for number in range(40):
        one.ask()
        epochs = (epoch for epoch in range(1, 13) if one.stop(epoch, 1.0 + number))
        ended = next(epochs, None)
        stopped_at.append(ended)
        one.tell(None if ended else 1.0 + number, pruned=ended is not None)
    assert set(stopped_at) - {None}  # worse and worse: some are ended
    assert 1 not in stopped_at


def test_rea_and_the_tuner_of_all_knobs_search_the_same_space(tmp_path: Path):
    import tomllib

    from benchmarks.headline import rea_arm

    path = tmp_path / "rea.toml"
    for text in (TOML.read_text(), CROSSING):
        path.write_text(text)
        for known in (frozenset[str](), frozenset({"user", "ad"}), frozenset({"user", "ad", "slot"})):
            task = replace(tasks.TASKS["frappe-dcnv2"], idle=frozenset({"features.numeric_both"}))
            written = tomllib.loads(rea_arm.described(text, task, known))
            whole = space.every_knob(path, known, task.idle)
            assert "features.numeric_both" not in whole
            assert set(written["knobs"]) == set(whole)
            choices = {name: tuple(knob["choices"]) for name, knob in written["knobs"].items() if "choices" in knob}
            assert choices == {name: whole[name].options for name in choices}
            assert written["codebase"]["python"] == sys.executable


def test_what_may_be_off_is_off_half_of_the_time_and_a_search_begins_where_it_is_told_to():
    knobs = {"l2": space.Range(0.0, 1.0, switch=True), "pairs": space.Range(0, 8, whole=True, switch=True)}
    for first in ({"l2": 0.0, "pairs": 3}, {"l2": 0.5, "pairs": 0}):
        one = search.open_search(search.Tuner("random"), knobs, first, 0, 12, Path())
        asked = []
        for _ in range(200):
            asked.append(one.ask())
            one.tell(1.0, pruned=False)
        assert asked[0] == first
        assert all(50 < sum(values[name] == 0 for values in asked) < 150 for name in knobs)


def test_an_ablation_and_another_budget_are_arms_of_their_own():
    from benchmarks.headline import rea_arm

    names = {rea_arm.name_of(arm, without) for arm in ("rea-cold", "rea-warm") for without in ((), ("stop-rule",))}
    assert names == {"rea-cold", "rea-warm", "rea-cold-no-stoprule", "rea-warm-no-stoprule"}
    assert rea_arm.name_of("rea-warm", runs=15) == "rea-warm-15r"


# ── identities ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_that_are_equal_are_one_run_whatever_their_types_and_order():
    some = configs.difference({"model.dropout": 0, "optim.lr": 0.01, "train.epochs": 9.0}, NEUTRAL)
    other = configs.difference({"train.epochs": 9, "optim.lr": 0.01}, NEUTRAL)
    assert configs.key("t", some, 1) == configs.key("t", other, 1)
    assert configs.key("t", some, 1) != configs.key("t", some, 2)


def test_a_switch_the_trainer_gains_changes_no_identity_until_it_is_set():
    grown = {**NEUTRAL, "model.new_switch": False}
    assert configs.difference({**grown, "optim.lr": 0.01}, grown) == configs.difference({"optim.lr": 0.01}, NEUTRAL)
    assert "model.new_switch" in configs.difference({"model.new_switch": True}, grown)


def test_a_setting_the_trainer_lacks_is_refused():
    with pytest.raises(KeyError, match=r"model\.unheard"):
        configs.difference({"model.unheard": 1}, NEUTRAL)


def test_a_trainer_that_lost_a_setting_is_refused(tmp_path: Path):
    folder = tmp_path / "configs"
    folder.mkdir()
    folder.joinpath("generated_dcnv2.yaml").write_text("model:\n  new_switch: 3\n")
    with pytest.raises(ValueError, match=r"no .*optim\.lr.* base\.yaml"):
        trainer.neutral_of(tmp_path)


def test_a_torn_last_line_is_cut_off_and_what_was_whole_stays(tmp_path: Path):
    path = tmp_path / "t.tpe-0.jsonl"
    path.write_text(json.dumps({"purpose": "search", "seed": 1}) + "\n" + '{"purpose": "sea')
    assert len(journal.read(path)) == 1
    log = journal.Journal(path)
    log.append({"purpose": "search", "seed": 2})
    assert [line["seed"] for line in journal.read(path)] == [1, 2]


def test_whole_runs_of_tuners_are_known_to_all_searches_of_a_task_and_no_others(tmp_path: Path):
    lines = {
        "t.tpe-0": {**record(0.8, seed=1), "purpose": "search"},
        "t.tpe-hyperband-0": {**record(None, seed=2), "purpose": "search", "pruned": 3},
        "t.random-0": {**record(None, seed=5), "purpose": "search", "failure": "exit 1"},
        "t.rea-cold-0": {**record(0.8, seed=6), "purpose": "search", "phase": "profile"},
        "t.verdict": {**record(0.7, seed=3), "purpose": "verdict"},
        "u.tpe-0": {**record(0.8, seed=4), "purpose": "search"},
    }
    for name, line in lines.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    assert set(journal.known("t", tmp_path)) == {configs.key("t", {}, 1)}


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**31), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_sample_of_units_keeps_all_rows_of_a_unit_or_none(seed: int, units_kept: int):
    import numpy as np

    random = np.random.default_rng(seed)
    cat = random.integers(0, 9, (200, 2))
    cat[:9, 0] = np.arange(9)
    kept = tasks.drawn(cat, random.integers(0, 3, 200), tasks.Sample(units=units_kept))
    chosen = set(cat[kept, 0])
    assert len(chosen) == units_kept
    assert list(kept) == [row for row in range(200) if cat[row, 0] in chosen]


def test_a_sample_of_rows_has_the_counts_asked_for_and_is_drawn_alike_each_time():
    import numpy as np

    split = np.repeat([0, 1, 2], 100)
    sample = tasks.Sample(rows=(10, 20, None))
    kept = tasks.drawn(np.zeros((300, 1)), split, sample)
    assert np.bincount(split[kept]).tolist() == [10, 20, 100]
    assert (kept == tasks.drawn(np.zeros((300, 1)), split, sample)).all()


def test_a_task_of_ones_own_is_read_from_its_words(tmp_path: Path):
    assert tasks.find(f"data={tmp_path},model=dlrm").start["model.interaction"] == "dlrm"
    with pytest.raises(ValueError, match="data=DIR,model=NAME"):
        tasks.find("criteo")


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.floats(0.1, 40), min_size=1, max_size=60), st.floats(50, 500))
def test_an_arm_overshoots_by_less_than_its_last_run_missed_its_expectation(costs: list[float], budget: float):
    account, trials = arms.Account(budget), []
    for cost in costs:
        expected = arms.expected(trials, 10.0)
        if not account.affords(expected, arms.reserve(trials, 10.0)):
            break
        account = account.charged(cost)
        trials.append(record(0.8, cost))
        assert account.overshoot_s <= max(0.0, cost - expected)
    assert account.spent_s == pytest.approx(sum(trial["cpu_s"] for trial in trials))


@given(st.lists(st.floats(0.5, 0.9), min_size=3, max_size=20, unique=True))
def test_what_is_kept_back_pays_for_confirming_the_best_three(nes: list[float]):
    trials = [record(ne, cpu_s=10 * ne) for ne in nes]
    best = sorted(nes)[:3]
    assert arms.reserve(trials, 99.0) == pytest.approx(2 * sum(10 * ne for ne in best))


def test_a_place_without_a_candidate_is_expected_to_cost_what_the_baseline_does():
    assert arms.reserve([record(None, 3.0), record(0.8, 4.0)], 10.0) == 2 * (4.0 + 10.0 + 10.0)


def test_the_pick_has_the_best_mean_among_those_confirmed_most():
    lucky, steady = {"optim.lr": 0.01}, {"optim.lr": 0.02}
    trials = [record(0.70, config=lucky), record(0.75, config=steady), record(0.99)]
    runs = [record(0.90, config=lucky), record(0.74, config=steady)]
    assert arms.pick(trials, [*runs, *runs])[0] == steady
    assert arms.pick(trials, [])[0] == lucky
    once = [record(0.71, config=lucky)]
    assert arms.pick(trials, [*once, record(0.9, config=steady), record(0.9, config=steady)])[0] == steady


def test_a_candidate_that_fails_on_a_further_seed_is_not_picked():
    trials = [record(0.70, config={"optim.lr": 0.01}), record(0.75)]
    assert arms.pick(trials, [record(None, config={"optim.lr": 0.01}), record(0.76)])[0] == {}
    assert arms.pick([record(None)], []) is None


def test_seeds_of_searches_baselines_and_verdicts_are_apart():
    from benchmarks.headline import verdict

    searched = {arms.training_seed(s) + i for s in range(4) for i in range(arms.CONFIRM_SEEDS + 1)}
    assert len(searched) == 12
    assert not searched & {*baselines.SEEDS, *verdict.SEEDS}
    assert not set(baselines.SEEDS) & set(verdict.SEEDS)


# ── baselines ────────────────────────────────────────────────────────────────────────────────────────────────────────


def standing(*nes: float) -> baselines.Standing:
    return baselines.Standing({}, nes, tuple(1.0 for _ in nes))


def test_a_baseline_is_chosen_when_two_further_seeds_have_not_moved_the_leader():
    assert not baselines.settled([standing(0.7, 0.7), standing(0.8, 0.8)])
    assert baselines.settled([standing(0.7, 0.7, 0.7), standing(0.8, 0.8, 0.8)])
    assert not baselines.settled([standing(0.7, 0.9, 0.9), standing(0.8, 0.8, 0.8)])
    assert not baselines.settled([standing(0.7, 0.7, 0.7, 0.7), standing(0.8, 0.8, 0.8)])


@given(st.lists(st.lists(st.floats(0.1, 1), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_choice_of_a_baseline_comes_to_an_end(nes: list[list[float]]):
    assert baselines.settled([standing(*one) for one in nes])


# ── units ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit(name: str, ready: bool = True, **options: bool) -> units.Unit:
    return units.Unit(name, lambda: ready, lambda: None, **options)


def test_nothing_begins_beside_a_unit_that_is_alone_nor_it_beside_others():
    alone, other = unit("a", alone=True), unit("b")
    assert units.startable([other], [alone]) is None
    assert units.startable([alone, other], [unit("c")]) is None
    assert units.startable([alone, other], []) is alone


def test_what_is_not_ready_is_passed_over_and_last_ones_wait_for_all_others():
    last = unit("z", last=True)
    assert units.startable([unit("a", ready=False), unit("b"), last], []).name == "b"
    assert units.startable([unit("a", ready=False), last], [unit("c")]) is None
    assert units.startable([unit("a", ready=False), last], []) is last


def test_all_units_are_worked_off_and_what_failed_or_was_never_ready_is_named():
    done: list[str] = []

    def work(name: str) -> units.Unit:
        return units.Unit(name, lambda: True, lambda: done.append(name))

    def fail() -> None:
        raise ValueError("no")

    pending = units.Unit("later", lambda: "a" in done, lambda: done.append("later"))
    bad, never = units.Unit("bad", lambda: True, fail), unit("never", ready=False)
    assert sorted(units.work_off([pending, work("a"), bad, never, work("b")], 2)) == ["bad", "never"]
    assert sorted(done) == ["a", "b", "later"]


def test_a_full_benchmark_holds_each_search_once_and_only_campaigns_are_alone(tmp_path: Path):
    from benchmarks.headline import rea_arm, run
    from benchmarks.headline.bench import Bench

    bench = Bench(tmp_path, trainer.Trainer(tmp_path, "", NEUTRAL), tmp_path / "results", tmp_path / "baselines")
    every = [*search.TUNERS, rea_arm.COLD, rea_arm.WARM]
    whole = run._units(bench, list(tasks.TASKS.values()), run.STAGES, every, 2, [], arms.BUDGET_RUNS)
    assert len({one.name for one in whole}) == len(whole) == len(tasks.TASKS) * (1 + 9 + 4 + 1)
    assert {one.name.split()[1].rpartition("-")[0] for one in whole if one.alone} == {rea_arm.COLD, rea_arm.WARM}
    assert {one.name.split()[1] for one in whole if one.last} == {"verdict"}
    assert {one.name.split()[1] for one in whole if one.ready()} == {"baseline"}


def test_a_warm_campaign_waits_for_the_cold_ones_of_all_other_tasks_and_no_more(tmp_path: Path):
    from benchmarks.headline import rea_arm, run
    from benchmarks.headline.bench import Bench

    bench = Bench(tmp_path, trainer.Trainer(tmp_path, "", NEUTRAL), tmp_path / "results", tmp_path / "baselines")
    own = tasks.TASKS["frappe-dcnv2"]
    bench.baselines.mkdir()
    (bench.baselines / f"{own.name}.yaml").write_text("optim:\n  lr: 0.002\n")
    (bench.baselines / f"{own.name}.json").write_text('{"ne": 0.4, "cpu_s": 9.0, "cpu_s_by_seed": [8.0]}')
    assert bench.baseline(own).config == {"optim.lr": 0.002}
    for other in rea_arm.others(own):
        assert not run._inherits(bench, own, 0)
        bench.journal(other, f"{rea_arm.COLD}-0").append({"purpose": "pick"})
    assert run._inherits(bench, own, 0)
    assert not run._inherits(bench, own, 1)
