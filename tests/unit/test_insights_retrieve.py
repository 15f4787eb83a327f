"""Asking what is known, of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rea.domain.insight import ExperimentRecord
from rea.insights.estimate import effect
from rea.insights.retrieve import about
from rea.insights.snapshot import learn
from rea.knowledge.cards import load_techniques
from rea.store import Store, open_store

TECHNIQUES = load_techniques()
TOGETHER = ("lr-decay", "weight-averaging")
RECORDS = [
    ExperimentRecord(
        None, "ads", 1, 1, 1, "lr-decay", {"lr_schedule": "cosine"}, "supported", effect=0.004, se=0.001, seeds=3
    ),
    ExperimentRecord(None, "ads", 1, 2, 1, "mlp-dropout", {"dropout": 0.2}, "refuted", {"dropout": 0.0}, effect=-0.002),
    ExperimentRecord(
        None, "ads", 1, 3, 1, "weight-averaging", {"ema_decay": 0.999}, "supported", effect=0.003, se=0.001
    ),
    ExperimentRecord(
        None, "ads", 1, 4, 1, None, {}, "supported", effect=0.005, se=0.001, interaction_of=TOGETHER, kind="combination"
    ),
    ExperimentRecord(
        None, "feed", 2, 9, 1, None, {"quantile_heads": 4}, "refuted", effect=-0.01, note="a zebra crossing"
    ),
]


def kept(folder: Path, *records: ExperimentRecord) -> Store:
    store = open_store(f"sqlite:///{folder / 'rea.db'}")
    store.import_experiments(records, file="team-b.jsonl", by="ann", at=1.0, trust=1.0)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = kept(tmp_path, *RECORDS)
    yield made
    made.close()


@pytest.mark.parametrize("query", ["lr-decay", "LR decay", "what do we know about lr_decay here?"])
def test_a_technique_is_found_by_name_with_its_effect_and_its_interactions(store: Store, query: str) -> None:
    answer = about(query, store, TECHNIQUES)
    (row,) = answer.rows
    assert row.technique == "lr-decay"
    card = next(t for t in TECHNIQUES if t.name == "lr-decay")
    expected = effect(card, {}, learn(RECORDS, TECHNIQUES, ""))
    assert (row.effect.mean, row.effect.sd) == pytest.approx((expected.mean, expected.sd))
    assert "+0.40 %" in row.evidence[0] and "imported by ann" in row.evidence[0]
    assert row.together and "weight-averaging" in row.together[0]
    assert row.effect.words in answer.words and row.evidence[0] in answer.words


def test_a_pair_is_told_once_and_a_number_agrees_with_its_verb(store: Store) -> None:
    answer = about("", store, TECHNIQUES)
    assert answer.words.count("beside the sum, measured once.") == 1
    assert sum(bool(row.together) for row in answer.rows) == 2
    assert "1 experiment on 1 codebase moves the card's" in answer.words
    store.import_experiments([replace(RECORDS[0], codebase="b")], file="f", by="b", at=1.0, trust=1.0)
    assert "2 experiments on 2 codebases move the card's" in about("lr-decay", store, TECHNIQUES).words


def test_a_role_is_answered_with_its_techniques_and_the_values_tried(store: Store) -> None:
    answer = about("dropout", store, TECHNIQUES)
    assert "mlp-dropout" in {row.technique for row in answer.rows}
    assert answer.values["dropout"] == ("0.0 → 0.2: -0.20 % (refuted)",)
    assert answer.values["dropout"][0] in answer.words


@pytest.mark.parametrize(
    ("query", "role"),
    [("lr_decay_floor", "lr_decay_floor"), ("an embedding dim of 8", "embedding_dim"), ("rank of crosses", None)],
)
def test_the_longest_name_in_the_query_decides(tmp_path: Path, query: str, role: str | None) -> None:
    """`lr-decay` is a card, and part of the name of a role."""
    tried = ExperimentRecord(None, "ads", 1, 5, 1, None, {"lr_decay_floor": 0.1}, "supported", effect=0.001)
    assert list(about(query, kept(tmp_path, tried), TECHNIQUES).values) == ([role] if role else [])


def test_a_role_only_experiments_know_is_answered_too(store: Store) -> None:
    answer = about("quantile_heads", store, TECHNIQUES)
    assert answer.rows == ()
    assert "-1.00 %" in answer.words


def test_free_text_finds_cards_and_experiments_by_their_words(store: Store) -> None:
    answer = about("one epoch overfitting of memorised ids", store, TECHNIQUES)
    assert answer.rows
    assert {"stop-after-one-epoch", "embedding-reset"} & {row.technique for row in answer.rows}
    zebra = about("zebras?", store, TECHNIQUES)
    assert len(zebra.notes) == 1, "words are found by their stems"
    assert "a zebra crossing" in zebra.words


@pytest.mark.parametrize("query", ["xyzzy", "???", '"quoted" AND', "it's"])
def test_an_unknown_topic_is_said_to_be_unknown_and_what_to_ask_instead(store: Store, query: str) -> None:
    answer = about(query, store, TECHNIQUES)
    assert answer.rows == ()
    assert "Nothing is known" in answer.words
    assert TECHNIQUES[0].name in answer.words


def test_rows_come_best_first(store: Store) -> None:
    means = [row.effect.mean for row in about("embedding", store, TECHNIQUES).rows]
    assert means == sorted(means, reverse=True)


def test_an_empty_question_is_answered_with_everything_tried(store: Store, tmp_path: Path) -> None:
    tried = [row.technique for row in about(" ", store, TECHNIQUES).rows]
    assert set(tried) == {"lr-decay", "weight-averaging", "mlp-dropout"} and tried[-1] == "mlp-dropout"
    (tmp_path / "empty").mkdir()
    assert "0 techniques, 0 experiments" in about("", kept(tmp_path / "empty"), TECHNIQUES).words


def test_experiments_that_contradict_each_other_are_told_with_what_their_contexts_differ_in(tmp_path: Path) -> None:
    large = replace(RECORDS[0], context={"rows": 2_000_000, "model_family": "dcnv2"})
    small = replace(large, codebase="b", campaign=7, effect=-0.003, context={"rows": 20_000, "model_family": "dcnv2"})
    between = replace(large, codebase="d", effect=0.001)
    row = about("lr-decay", kept(tmp_path, large, between, small), TECHNIQUES).rows[0]
    (told,) = row.contradictions
    assert "H-1 of C-1 in team-b.jsonl" in told and "+0.40 %" in told and "H-1 of C-7" in told and "-0.30 %" in told
    assert "the contexts differ in rows (2e+06 against 2e+04)" in told


def test_what_does_not_contradict_beyond_two_errors_is_not_told(tmp_path: Path) -> None:
    faint = replace(RECORDS[0], codebase="b", effect=-0.001, se=0.001)
    assert about("lr-decay", kept(tmp_path, RECORDS[0], faint), TECHNIQUES).rows[0].contradictions == ()


def test_a_codebase_hears_of_its_own_experiments_first(tmp_path: Path) -> None:
    others = [replace(RECORDS[0], codebase=f"b{i}", hypothesis=i) for i in range(8)]
    found = about("lr-decay", kept(tmp_path, RECORDS[0], *others), TECHNIQUES, {"codebase": "ads"})
    assert "ads" in found.rows[0].evidence[0]
    assert "For ads." in found.words


def test_an_overview_is_of_everything_tried_and_what_was_tried_comes_first(tmp_path: Path) -> None:
    tried = [t.name for t in TECHNIQUES[-12:]]
    store = kept(tmp_path, *(replace(RECORDS[0], hypothesis=i, technique=name) for i, name in enumerate(tried)))
    assert {row.technique for row in about("", store, TECHNIQUES).rows} == set(tried)
    store.close()


@pytest.mark.parametrize("query", ["rare ids", "rare_ids", "what about rare ids here?"])
def test_a_symptom_is_answered_with_what_treats_it(store: Store, query: str) -> None:
    rows = about(query, store, TECHNIQUES).rows
    assert rows and {row.technique for row in rows} <= {t.name for t in TECHNIQUES if "rare_ids" in t.treats}
