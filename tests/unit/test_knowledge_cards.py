"""Technique cards and runbooks as files: what is packaged, what a team adds, what is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.errors import ConfigError
from rea.domain.runbook import Action, FailureClass
from rea.domain.technique import Relative, Symptom, Technique
from rea.knowledge.cards import load_runbooks, load_techniques, packaged
from rea.knowledge.regex import check_signature
from rea.knowledge.units import binormal_ne, ne_gain_per_auc, worth_of_calibration

TECHNIQUES = load_techniques()
RUNBOOKS = load_runbooks()

GOOD = """---
name: {name}
title: A title
level: recipe
mechanism: schedule
treats: [unstable]
settings:
  - {{learning_rate: x0.3}}
effect: {{mean: 0.001, sd: 0.002, basis: "ours"}}
citation: "us"
---
Prose.
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    return folder


def test_every_symptom_has_a_technique_that_treats_it() -> None:
    assert {symptom for card in TECHNIQUES for symptom in card.treats} == set(Symptom)


@pytest.mark.parametrize("card", TECHNIQUES, ids=lambda card: card.name)
def test_a_packaged_technique_is_worth_reading_and_believable(card: Technique) -> None:
    assert 80 <= len(card.prose.split()) <= 200
    assert re.search(r"(19|20)\d\d", card.citation), "a citation has a year"
    assert not set(card.treats) & set(card.avoid_when)
    assert not set(card.overlaps) & set(card.conflicts) or card.mechanism in ("step_size", "capacity")
    assert abs(card.effect.mean) <= 2 * card.effect.sd, "a prior that excludes zero makes experiments pointless"
    assert "[M]" not in card.prose + card.effect.basis


@pytest.mark.parametrize("card", TECHNIQUES, ids=lambda card: card.name)
def test_a_packaged_technique_that_cites_no_measurement_calls_its_numbers_estimates(card: Technique) -> None:
    assert re.search(r"\b(estimate|BARS|CowClip)\b", card.effect.basis, re.IGNORECASE)


def test_interactions_exclude_each_other() -> None:
    families = [card for card in TECHNIQUES if card.mechanism == "interaction"]
    assert len(families) >= 7
    for left in families:
        assert all(right.name in left.conflicts or left.name in right.conflicts for right in families if right != left)


def test_the_packaged_runbooks_cover_every_class_and_only_repeat_where_that_can_help() -> None:
    assert {card.kind for card in RUNBOOKS} == set(FailureClass)
    for card in RUNBOOKS:
        if card.kind in (FailureClass.SILENT, FailureClass.GUARDRAIL):
            assert card.policy.max == 0
        if card.kind is FailureClass.RESOURCE and card.name != "queue-limit":
            assert card.policy.action is not Action.RETRY, "the same resources fail the same way"


def test_a_teams_card_replaces_the_packaged_one_and_new_ones_join(tmp_path: Path) -> None:
    folder = write(tmp_path / "techniques", "lr-decay", GOOD.format(name="lr-decay"))
    write(folder, "ours", GOOD.format(name="ours"))
    cards = {card.name: card for card in load_techniques(folder)}
    assert cards["lr-decay"].title == "A title"
    assert cards["lr-decay"].settings == ({"learning_rate": Relative(0.3)},)
    assert len(cards) == len(TECHNIQUES) + 1
    assert list(cards) == sorted(cards)


def test_a_folder_that_does_not_exist_adds_nothing(tmp_path: Path) -> None:
    assert load_techniques(tmp_path / "nowhere") == TECHNIQUES
    assert load_runbooks(tmp_path / "nowhere") == RUNBOOKS


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("title: A title\n", "", "title"),
        ('citation: "us"\n', "", "citation"),
        ("level: recipe", "level: receipt", "level"),
        ("treats: [unstable]", "treats: [wobbly]", "treats"),
        ("treats: [unstable]", "treats: unstable", "treats"),
        ("learning_rate: x0.3", "learning_speed: x0.3", "settings"),
        ("learning_rate: x0.3", "learning_rate: {x: 0.3, else: 1}", "settings.learning_rate"),
        ("learning_rate: x0.3", "learning_rate: [1, 2]", "settings.learning_rate"),
        ("sd: 0.002", "sd: 0", "effect.sd"),
        ("sd: 0.002", "sd: wide", "effect.sd"),
        (', basis: "ours"', "", "effect.basis"),
        ('basis: "ours"', 'basis: "ours", source: x', "effect.source"),
        ("citation:", "overlaps: [no-such-card]\ncitation:", "overlaps"),
        ("citation:", "requires: {optimizer: adam}\ncitation:", "requires.optimizer"),
        ("citation:", "retune: [speed]\ncitation:", "retune"),
        ("citation:", "cost: 0\ncitation:", "cost"),
        ("citation:", "colour: red\ncitation:", "colour"),
        ("name: ours", "name: theirs", "name"),
        ("title: A title", "title: A title\ntitle: Another", "twice"),
        ("Prose.", "", "no prose"),
        ("---\nname", "name", "front matter"),
        ("mechanism: schedule", "mechanism: [schedule", "YAML"),
    ],
)
def test_a_wrong_technique_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    text = GOOD.format(name="ours")
    assert old in text
    folder = write(tmp_path / "techniques", "ours", text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_techniques(folder)
    assert str(folder / "ours.md") in caught.value.message
    assert key in str(caught.value)
    assert caught.value.hint


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    settings = "{learning_rate: 1e-4, epochs: '+1', patience: '-1', embedding_l2: {x: 10, or: 1e-5}}"
    folder = write(tmp_path / "t", "ours", GOOD.format(name="ours").replace("{learning_rate: x0.3}", settings))
    ours = next(card for card in load_techniques(folder) if card.name == "ours")
    assert ours.settings == (
        {
            "learning_rate": 1e-4,
            "epochs": Relative(step=1.0),
            "patience": Relative(step=-1.0),
            "embedding_l2": Relative(10.0, 0.0, 1e-5),
        },
    )


RUNBOOK = """---
name: ours
title: Ours
class: T
priority: 80
signatures: ['our storage is away']
policy: {action: retry, max: 2, backoff_s: [60]}
citation: "us"
---
Prose.
"""


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("class: T", "class: X", "class"),
        ("'our storage is away'", "'(a+)+b'", "signatures"),
        ("'our storage is away'", "'('", "signatures"),
        ("action: retry", "action: pray", "policy.action"),
        ("max: 2", "max: 0", "policy.max"),
        ("max: 2", "max: two", "policy.max"),
        ("action: retry", "action: mutate", "policy.mutate"),
        ("action: retry, max: 2", "action: drop, max: 2", "policy.max"),
        ("backoff_s: [60]", "backoff_s: [-1]", "policy.backoff_s"),
        ("priority: 80", "priority: high", "priority"),
        ("citation:", "outcomes: [exploded]\ncitation:", "outcomes"),
        ("citation:", "signals: [bad]\ncitation:", "signals"),
    ],
)
def test_a_wrong_runbook_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in RUNBOOK
    folder = write(tmp_path / "runbooks", "ours", RUNBOOK.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_runbooks(folder)
    assert str(folder / "ours.md") in caught.value.message
    assert key in caught.value.message


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(a|aa)+b", r"(.*a){9}", r".*x.*y.*z", r"(a)\1", r"((ab)?c)*", "("])
def test_signatures_that_can_take_for_ever_are_refused(pattern: str) -> None:
    assert check_signature(pattern)


@pytest.mark.parametrize(
    "pattern", [r"(CUDA|HIP) out", r"a.{0,40}b.{0,40}c", r"\w+Error: .*x", r"(abc)+", r"a(b+)?", r"[^)+*]+"]
)
def test_ordinary_signatures_are_accepted(pattern: str) -> None:
    assert check_signature(pattern) is None


def test_the_conversion_table_of_the_readme_is_what_the_code_computes() -> None:
    text = (packaged("techniques").parent / "README.md").read_text()
    head = re.search(r"\| positive rate \|(.*)\|", text)
    assert head is not None
    aucs = [float(cell.replace("AUC", "")) for cell in head.group(1).split("|")]
    rows = re.findall(r"^\| (0\.\d+) \|((?: \d\.\d\d \|)+)$", text, re.MULTILINE)
    assert len(rows) == 5
    for rate, cells in rows:
        told = [float(cell) for cell in cells.strip(" |").split("|")]
        assert told == [round(ne_gain_per_auc(auc, float(rate)), 2) for auc in aucs]


def test_a_model_that_orders_at_random_has_an_ne_of_one() -> None:
    assert binormal_ne(0.5, 0.2) == pytest.approx(1.0, abs=1e-9)
    assert binormal_ne(0.8143, 0.256) == pytest.approx(0.7692, abs=1e-3)  # about a Criteo model's


@given(st.floats(0.55, 0.9), st.floats(0.02, 0.5), st.floats(-1.0, 0.5))
def test_a_shift_to_the_observed_rate_gains_what_is_promised_at_least(auc: float, rate: float, shift: float) -> None:
    """Against a binormal model whose log odds are all off by `shift`, by quadrature."""
    separation = math.sqrt(2) * NormalDist().inv_cdf(auc)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    odds = [math.log(rate / (1 - rate)) + separation * (nodes + sign * separation / 2) + shift for sign in (1, -1)]
    loss = rate * weights @ np.logaddexp(0, -odds[0]) + (1 - rate) * weights @ np.logaddexp(0, odds[1])
    mean = rate * weights @ (1 / (1 + np.exp(-odds[0]))) + (1 - rate) * weights @ (1 / (1 + np.exp(-odds[1])))
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    gained = 1 - binormal_ne(auc, rate) / (loss / entropy)
    assert -1e-9 <= worth_of_calibration(mean / rate, rate, loss / entropy) <= gained + 1e-6


@pytest.mark.parametrize(
    ("calibration", "rate", "ne"), [(4.0, 0.3, 0.8), (0.0, 0.3, 0.8), (0.9, 0.0, 0.8), (0.9, 0.3, 0.0)]
)
def test_a_mean_prediction_that_is_no_rate_is_worth_nothing(calibration: float, rate: float, ne: float) -> None:
    assert worth_of_calibration(calibration, rate, ne) == 0.0
