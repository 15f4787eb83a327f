"""Asking what is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rea.domain.insight import ExperimentRecord
from rea.insights.estimate import effect
from rea.insights.retrieve import about
from rea.knowledge.cards import load_techniques

TECHNIQUES = load_techniques()
RECORDS = [
    ExperimentRecord(
        1, "ads", 1, 1, 1, "lr-decay", {"lr_schedule": "cosine"}, "supported", effect=0.004, se=0.001, seeds=3
    ),
    ExperimentRecord(2, "ads", 1, 2, 1, "mlp-dropout", {"dropout": 0.2}, "refuted", {"dropout": 0.0}, effect=-0.002),
    ExperimentRecord(3, "ads", 1, 3, 1, "weight-averaging", {"ema_decay": 0.999}, "supported", effect=0.003, se=0.001),
    ExperimentRecord(
        4,
        "ads",
        1,
        4,
        1,
        None,
        {},
        "supported",
        effect=0.005,
        se=0.001,
        interaction_of=("lr-decay", "weight-averaging"),
    ),
    ExperimentRecord(5, "feed", 2, 9, 1, None, {"quantile_heads": 4}, "refuted", effect=-0.01, note="a zebra crossing"),
]


@pytest.mark.parametrize("query", ["lr-decay", "LR decay", "what do we know about lr_decay here?"])
def test_a_technique_is_found_by_name_with_its_effect_and_its_interactions(query: str) -> None:
    answer = about(query, RECORDS, TECHNIQUES)
    (row,) = answer.rows
    assert row.technique == "lr-decay"
    card = next(t for t in TECHNIQUES if t.name == "lr-decay")
    assert row.effect == effect(card, {}, RECORDS)
    assert "+0.40 %" in row.effect.evidence[0]
    assert row.together
    assert "weight-averaging" in row.together[0]
    assert row.effect.words in answer.words


def test_a_pair_is_told_once_and_a_number_agrees_with_its_verb() -> None:
    answer = about("", RECORDS, TECHNIQUES)
    assert answer.words.count("beside the sum, measured once.") == 1
    assert sum(bool(row.together) for row in answer.rows) == 2
    assert "1 experiment on 1 codebase moves the card's" in answer.words
    more = about("lr-decay", [*RECORDS, replace(RECORDS[0], id=9, campaign=7)], TECHNIQUES)
    assert "2 experiments on 1 codebase move the card's" in more.words


def test_a_role_is_answered_with_its_techniques_and_the_values_tried() -> None:
    answer = about("dropout", RECORDS, TECHNIQUES)
    assert "mlp-dropout" in {row.technique for row in answer.rows}
    assert answer.values["dropout"] == ("0.0 → 0.2: -0.20 % (refuted)",)
    assert answer.values["dropout"][0] in answer.words


@pytest.mark.parametrize(
    ("query", "role"),
    [("lr_decay_floor", "lr_decay_floor"), ("an embedding dim of 8", "embedding_dim"), ("rank of crosses", None)],
)
def test_the_longest_name_in_the_query_decides(query: str, role: str | None) -> None:
    """`lr-decay` is a card, and part of the name of a role."""
    tried = ExperimentRecord(6, "ads", 1, 5, 1, None, {"lr_decay_floor": 0.1}, "supported", effect=0.001)
    assert list(about(query, [tried], TECHNIQUES).values) == ([role] if role else [])


def test_a_role_only_records_know_is_answered_too() -> None:
    answer = about("quantile_heads", RECORDS, TECHNIQUES)
    assert answer.rows == ()
    assert "-1.00 %" in answer.words


def test_free_text_finds_cards_and_notes_by_their_words() -> None:
    answer = about("one epoch overfitting of memorised ids", RECORDS, TECHNIQUES)
    assert answer.rows
    assert {"stop-after-one-epoch", "embedding-reset"} & {row.technique for row in answer.rows}
    zebra = about("zebra", RECORDS, TECHNIQUES)
    assert len(zebra.notes) == 1
    assert "a zebra crossing" in zebra.words


@pytest.mark.parametrize("query", ["xyzzy", "???"])
def test_an_unknown_topic_is_said_to_be_unknown_and_what_to_ask_instead(query: str) -> None:
    answer = about(query, RECORDS, TECHNIQUES)
    assert answer.rows == ()
    assert "Nothing is known" in answer.words
    assert TECHNIQUES[0].name in answer.words


def test_rows_come_best_first() -> None:
    means = [row.effect.mean for row in about("embedding", RECORDS, TECHNIQUES).rows]
    assert means == sorted(means, reverse=True)


def test_an_empty_question_is_answered_with_everything_tried() -> None:
    tried = [row.technique for row in about(" ", RECORDS, TECHNIQUES).rows]
    assert tried == ["lr-decay", "weight-averaging", "mlp-dropout"]
    assert "0 techniques, 0 experiments" in about("", [], TECHNIQUES).words
