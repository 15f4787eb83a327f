"""What the store keeps of experiments beside their rows, over every database it can be kept in."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from test_store_contract import campaign, idea, postgresql, store, url  # noqa: F401 - fixtures over both databases

from rea.domain.errors import NotFoundError, ReaError, UsageError
from rea.domain.insight import Cell, ExperimentRecord, content, gather
from rea.insights.estimate import effect
from rea.insights.exchange import export_file, import_file
from rea.insights.snapshot import learn, recall
from rea.knowledge.cards import load_techniques
from rea.store import Store, migrate, open_store

TECHNIQUES = load_techniques()
NAMES = ("lr-decay", "mlp-dropout", "weight-averaging")


def record(**more: Any) -> ExperimentRecord:
    known: dict[str, Any] = {
        "id": None,
        "codebase": "ads",
        "campaign": 1,
        "hypothesis": 1,
        "round": 1,
        "technique": "lr-decay",
        "roles": {"lr_schedule": "cosine"},
        "values": {"lr_schedule": "constant", "dropout": 0.0},
        "outcome": "supported",
        "context": {"codebase": "ads", "rows": 1e6, "symptoms": ("not_converged",)},
        "effect": 0.004,
        "se": 0.001,
        "seeds": 2,
        "at": 1.0,
    }
    return ExperimentRecord(**(known | more))


def many(count: int, seed: int = 1) -> list[ExperimentRecord]:
    """Experiments of every kind, some on the same thing again."""
    source = random.Random(seed)
    made = []
    for i in range(count):
        outcome = source.choice(["supported", "refuted", "inconclusive", "failed", "pruned"])
        codebase = source.choice(["ads", "feed"])
        made.append(
            record(
                codebase=codebase,
                hypothesis=i,
                technique=source.choice(NAMES),
                roles={"dropout": source.choice([0.1, 0.3])},
                outcome=outcome,
                context={"codebase": codebase, "rows": source.choice([1e5, 1e6]), "positive_rate": 0.2},
                effect=None if outcome == "failed" else source.gauss(0, 0.004),
                se=source.choice([0.001, 0.002, None]),
                at=float(i),
            )
        )
    made += [record(technique=None, kind="combination", interaction_of=("lr-decay", "mlp-dropout"), hypothesis=count)]
    return made


def put(store: Store, records: list[ExperimentRecord], trust: float = 1.0) -> int:  # noqa: F811
    return store.import_experiments(records, file="b.jsonl", by="ann", at=5.0, trust=trust)


def asked(store: Store, question: str, *values: Any, **named: Any) -> Any:  # noqa: F811
    with store.instant() as read:
        return getattr(read, question)(*values, **named)


def plain(cells: list[Cell]) -> list[tuple[Any, ...]]:
    rows = [
        (c.technique, c.setting, c.codebase, sorted(c.context.items()), c.n, c.failed, c.pruned, c.weight, c.moment)
        for c in cells
    ]
    return sorted(rows, key=repr)


def test_cells_are_the_sums_of_the_experiments_that_count(store: Store) -> None:  # noqa: F811
    put(store, many(60))
    found, expected = plain(asked(store, "cells")), plain(list(gather(store.experiments())))
    assert [row[:7] for row in found] == [row[:7] for row in expected] and found
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[7:] == pytest.approx(theirs[7:])
    assert plain(asked(store, "cells", codebases=["feed"])) == [row for row in found if row[2] == "feed"]
    assert any(r.superseded_by for r in store.experiments())
    assert sum(store.counts().values()) == sum(row[4] + row[5] + row[6] for row in found)


def test_a_belief_from_the_store_is_that_from_its_records_and_follows_every_change(store: Store) -> None:  # noqa: F811
    card = next(t for t in TECHNIQUES if t.name == "lr-decay")
    put(store, many(30))
    for more in ([], [record(codebase="news", hypothesis=99, effect=-0.01)]):
        put(store, more)
        for codebase, data in product(
            ("ads", "elsewhere"), (None, {"rows": 1.01e6, "positive_rate": 0.2}, {"rows": 7})
        ):
            mine = effect(card, {"codebase": codebase}, recall(store, TECHNIQUES, codebase, data))
            theirs = effect(card, {"codebase": codebase}, learn(store.experiments(), TECHNIQUES, codebase, data))
            assert (mine.mean, mine.sd, mine.n) == pytest.approx((theirs.mean, theirs.sd, theirs.n))
            kept = effect(card, {"codebase": codebase}, recall(store, TECHNIQUES, codebase, data))
            assert mine == kept, "from kept fits"
    found = recall(store, TECHNIQUES, "elsewhere", {"rows": 1.01e6, "positive_rate": 0.2}).known["lr-decay"]
    assert {cell.codebase for cell in found.kin} == {"ads", "feed"}


def test_a_changed_card_is_believed_at_once(store: Store) -> None:  # noqa: F811
    card = next(t for t in TECHNIQUES if t.name == "lr-decay")
    put(store, [record()])
    before = effect(card, {}, recall(store, [card], ""))
    other = replace(card, effect=replace(card.effect, mean=-0.01))
    assert effect(other, {}, recall(store, [other], "")).mean < before.mean


def test_a_judgement_that_changes_leaves_no_trace_of_the_one_before(store: Store) -> None:  # noqa: F811
    c = campaign(store)
    with store.transaction(c) as tx:
        (h,) = tx.add_hypotheses(c, 1, [idea()])
        first = tx.add_experiment(record(campaign=c, hypothesis=h, technique="mlp-dropout", effect=0.5))
    with store.transaction(c) as tx:
        assert tx.add_experiment(record(campaign=c, hypothesis=h, effect=0.002)) == first
    (cell,) = asked(store, "cells")
    assert (cell.technique, cell.n) == ("lr-decay", 1)
    assert cell.gain == pytest.approx(0.002)
    assert asked(store, "revisions", ["mlp-dropout", "lr-decay"]) == {"mlp-dropout": 2, "lr-decay": 1}
    assert store.find_experiments(["decay"], 5) and not store.find_experiments(["dropout"], 5)


def test_a_later_better_powered_test_of_the_same_thing_supersedes_in_its_codebase_alone(store: Store) -> None:  # noqa: F811
    old, worse = record(se=0.002), record(hypothesis=2, se=0.003, at=2.0)
    better = record(hypothesis=3, se=0.0005, at=3.0, effect=0.001)
    elsewhere = record(hypothesis=4, codebase="feed", se=0.002)
    other = record(hypothesis=5, se=0.002, values={"lr_schedule": "linear"})
    put(store, [old, worse])
    assert [r.superseded_by for r in store.experiments()] == [None, None], "less power replaces nothing"
    put(store, [better, elsewhere, other])
    by = {r.hypothesis: r.superseded_by for r in store.experiments()}
    (id_,) = [r.id for r in store.experiments() if r.hypothesis == 3]
    assert by == {1: id_, 2: id_, 3: None, 4: None, 5: None}
    (cell,) = [c for c in asked(store, "cells", codebases=["ads"]) if c.start == {"lr_schedule": "constant"}]
    assert (cell.n, cell.gain) == (1, pytest.approx(0.001))


def test_an_import_that_is_taken_back_leaves_no_trace(store: Store) -> None:  # noqa: F811
    one = record(se=0.002)
    two = record(hypothesis=2, technique="mlp-dropout", roles={"dropout": 0.1}, effect=0.002)
    put(store, [one, two])

    def seen() -> tuple[Any, ...]:
        rows = [(r.hypothesis, r.superseded_by) for r in store.experiments()]
        return (
            rows,
            plain(asked(store, "cells")),
            asked(store, "pairs", NAMES),
            learn(store.experiments(), TECHNIQUES, "").winners,
        )

    before, revisions = seen(), asked(store, "revisions", NAMES)
    better = record(hypothesis=3, se=0.0005, at=3.0, effect=0.05)
    together = record(hypothesis=4, technique=None, kind="combination", interaction_of=NAMES[:2], effect=0.005)
    store.import_experiments([better, together], file="bad.jsonl", by="bob", at=6.0, trust=0.5)
    assert seen() != before
    assert store.forget_imports("bad.jsonl") == 2
    assert seen() == before
    assert asked(store, "revisions", NAMES)["lr-decay"] > revisions["lr-decay"], "its fit is made anew"
    with pytest.raises(NotFoundError, match=r"nothing was imported from bad\.jsonl") as caught:
        store.forget_imports("bad.jsonl")
    assert "b.jsonl" in str(caught.value.hint)


def test_a_pair_is_no_longer_held_against_what_was_taken_back(store: Store) -> None:  # noqa: F811
    one = record(effect=0.004)
    two = record(hypothesis=2, technique="mlp-dropout", roles={"dropout": 0.1}, effect=0.002)
    put(store, [one, two])
    store.import_experiments([record(hypothesis=3, effect=0.05)], file="bad.jsonl", by="bob", at=6.0, trust=1.0)
    roles = {"lr_schedule": "cosine", "dropout": 0.1}
    known = {"technique": None, "kind": "combination", "interaction_of": NAMES[:2], "roles": roles}
    put(store, [record(hypothesis=4, effect=0.006, **known)])
    assert asked(store, "pairs", NAMES)[0].excess < -0.01
    store.forget_imports("bad.jsonl")
    (pair,) = asked(store, "pairs", NAMES)
    assert pair.excess == pytest.approx(0.0, abs=1e-9)


def test_experiments_are_found_by_the_stems_of_their_words_best_first(store: Store) -> None:  # noqa: F811
    put(store, [record(note="diverging after warm-up"), record(hypothesis=2, note="warmup diverged; it diverges")])
    assert [r.hypothesis for r in store.find_experiments(["diverge"], 5)] == [2, 1]
    assert [r.hypothesis for r in store.find_experiments(["warm", "nothing"], 5)] == [1]
    assert store.find_experiments(["zebra"], 5) == [] == store.find_experiments([], 5)


def test_values_of_a_role_are_those_that_set_it(store: Store) -> None:  # noqa: F811
    put(store, [record(), record(hypothesis=2, roles={"dropout": 0.2}, effect=0.01, note="lr schedule as it was")])
    assert [r.hypothesis for r in store.setters("lr_schedule", 5)] == [1]


def test_what_was_measured_of_a_pair_is_kept_and_only_with_both_alone(store: Store) -> None:  # noqa: F811
    one, two = record(), record(hypothesis=2, technique="mlp-dropout", roles={"dropout": 0.1}, effect=0.002)
    together = record(hypothesis=3, technique=None, kind="combination", interaction_of=NAMES[:2], effect=0.005)
    put(store, [one, together])
    assert asked(store, "pairs", NAMES) == []
    put(store, [two, replace(together, hypothesis=4)])
    (pair,) = asked(store, "pairs", NAMES)
    assert (pair.a, pair.b, pair.n) == ("lr-decay", "mlp-dropout", 1)
    assert pair.excess == pytest.approx(-0.001) and pair.smaller == pytest.approx(0.002)
    assert store.pairs_with("mlp-dropout") == [pair]
    (same,) = learn([one, two, replace(together, hypothesis=4)], TECHNIQUES, "").pairs
    assert (pair.weight, pair.excess) == pytest.approx((same.weight, same.excess))


# files


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_is_exported_and_imported_is_the_same_and_is_imported_once(
    store: Store,  # noqa: F811
    tmp_path: Path,
    ending: str,
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    put(store, many(20))
    file = tmp_path / f"all.{ending}"
    assert export_file(store.each_experiment(7), file) == 21
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    done = import_file(other, file, by="bob", at=9.0, trust=0.5)
    assert (done.added, done.known) == (21, 0)
    assert [json.dumps(content(r)) for r in other.experiments()] == [
        json.dumps(content(r)) for r in store.experiments()
    ]
    assert {(r.trust, r.origin) for r in other.experiments()} == {(0.5, f"all.{ending}, imported by bob")}
    assert sum(c.weight for c in asked(other, "cells")) == pytest.approx(
        0.5 * sum(c.weight for c in asked(store, "cells"))
    )
    again = import_file(other, file, by="bob", at=9.0)
    assert (again.added, again.known) == (0, 21)
    assert import_file(store, file, by="bob", at=9.0).added == 0, "its own come back as what they are"
    other.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/rea.db")


def lines(tmp_path: Path, *more: str) -> Path:
    file = tmp_path / "in.jsonl"
    good = json.dumps(content(record()))
    file.write_text("\n".join(['{"rea_insights": 1}', good, *more]) + "\n")
    return file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": "won"}, "outcome is 'won'; expected one of: supported"),
        ({"effect": "big"}, "effect is 'big'; expected a relative gain"),
        ({"effect": 50}, "effect is 50; expected a relative gain from -1e6 to 10 (0.005 is half a per cent)"),
        ({"effect": 10**400}, "expected a relative gain"),
        ({"se": -1}, "se is -1; expected a standard error"),
        ({"fidelity": 7}, "fidelity is 7; expected a share"),
        ({"campaign": -3}, "campaign is -3; expected a whole number from 0"),
        ({"seeds": 10**30}, "expected a whole number from 0"),
        ({"codebase": ""}, "codebase is ''; expected a text"),
        ({"context": {"rows": "many"}}, "context.rows is 'many'; expected a number"),
        ({"context": {"rows": 10**400}}, "expected a number below 1e18"),
        ({"roles": {"dropout": 1e300}}, "roles.dropout is 1e+300; expected a number below 1e18"),
        ({"gain": 0.1}, "'gain' is no field of an experiment; they are: at, "),
        ({"roles": [1]}, "roles is [1]; expected an object"),
        ({"roles": {"dropout": [1]}}, "roles.dropout is [1]; expected a single value"),
        ({"codebase": None}, "codebase is None; expected a text"),
        ({"kind": "double"}, "kind is 'double'; expected one of"),
        ({"interaction_of": "ab"}, "interaction_of is 'ab'; expected a list"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported_unless_it_may_be_left_out(
    sqlite: Store, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    bad = json.dumps({**content(record(hypothesis=2)), **change})
    file = lines(tmp_path, bad)
    with pytest.raises(UsageError, match="line 3: ") as caught:
        import_file(sqlite, file, by="bob", at=1.0)
    assert said in str(caught.value) and "--skip-bad" in str(caught.value)
    assert sqlite.experiments() == []
    done = import_file(sqlite, file, by="bob", at=1.0, skip_bad=True)
    assert done.added == 1 and said in done.skipped[0]


def test_a_torn_line_a_foreign_file_and_a_newer_format_are_said(sqlite: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3: is no JSON"):
        import_file(sqlite, lines(tmp_path, '{"codebase": '), by="b", at=1.0)
    file = tmp_path / "other.jsonl"
    for text, said in (("hello\n", "no file of insights"), ('{"rea_insights": 9}\n', "format 9"), ("", "no file")):
        file.write_text(text)
        with pytest.raises(UsageError, match=said):
            import_file(sqlite, file, by="b", at=1.0)
    for path, said in ((tmp_path / "none.jsonl", "cannot be read"), (tmp_path / "x.csv", "neither .jsonl nor")):
        with pytest.raises(UsageError, match=said):
            import_file(sqlite, path, by="b", at=1.0)
    with pytest.raises(UsageError, match=r"neither \.jsonl nor"):
        export_file([], tmp_path / "x.csv")
    with pytest.raises(UsageError, match="cannot be written"):
        export_file([], tmp_path / "nowhere" / "x.jsonl")


@pytest.mark.parametrize("trust", [0.0, -1.0, 1.5, float("nan")])
def test_a_trust_that_is_no_share_is_refused(sqlite: Store, tmp_path: Path, trust: float) -> None:
    with pytest.raises(UsageError, match="no share"):
        import_file(sqlite, lines(tmp_path), by="b", at=1.0, trust=trust)


def test_parquet_without_its_library_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ReaError, match="pyarrow") as caught:
        export_file([record()], tmp_path / "x.parquet")
    assert "pip install" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


# older stores


def test_a_store_of_the_first_schema_is_migrated_with_its_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    first_schema(monkeypatch, f"sqlite:///{path}")
    whole = record(context={"codebase": "ads", "rows": 1e6, "positive_rate": 0.2})
    kept = {name: value for name, value in content(whole).items() if name != "kind"}
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "INSERT INTO campaigns VALUES (1, 'n', '{}', 'c', 'running', 1, 'profile', 1.0, '{}', '{}', NULL, NULL,"
            " NULL, NULL, '', NULL, NULL, NULL, 0, NULL, NULL)"
        )
        old.execute("INSERT INTO hypotheses VALUES (1, 1, 1, 'd', 'supported', '{}', NULL, '')")
        old.execute(
            "INSERT INTO experiments VALUES (7, 1, 1, 1, 'ads', 'lr-decay', 'supported', 1.0, ?)",
            (json.dumps({"id": None} | kept),),
        )
    store = open_store(f"sqlite:///{path}")  # noqa: F811
    (found,) = store.experiments()
    assert found == replace(whole, id=7)
    assert [cell.gain for cell in asked(store, "cells")] == pytest.approx([0.004])
    assert [r.id for r in store.find_experiments(["cosine"], 3)] == [7]
    assert put(store, [whole]) == 0, "an export of it is known"
    ((codebase, context, count),) = asked(store, "places", (9e5, 1.1e6), (0.19, 0.21))
    assert (codebase, context, count) == ("ads", whole.context, 1)
    assert path.with_name("old.db.0001_first.bak").exists()
    store.close()


def first_schema(monkeypatch: pytest.MonkeyPatch, url: str) -> None:  # noqa: F811
    """A store as the first release made it, without a row."""
    with monkeypatch.context() as older:
        older.setattr(migrate, "REVISIONS", migrate.REVISIONS[:1])
        older.setattr(migrate, "_derive", lambda _: None)
        older.setattr("alembic.command.upgrade", _up_to("0001_first", __import__("alembic.command").command.upgrade))
        open_store(url).close()


def test_processes_that_open_an_older_store_at_once_migrate_it_once_and_one_says_what_is_kept_of_it(
    url: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first_schema(monkeypatch, url)
    code = "import sys; from rea.store import open_store; print(open_store(sys.argv[1]).uid)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, url]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    done = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], done
    assert len({out for out, _ in done}) == 1
    (said,) = (err for _, err in done if err)
    assert f"was brought from schema 0001_first to {migrate.REVISIONS[-1]}" in said
    assert ("pg_dump" if url.startswith("postgresql") else "rea.db.0001_first.bak") in said


def _up_to(revision: str, upgrade: Any) -> Any:
    return lambda config, _: upgrade(config, revision)
