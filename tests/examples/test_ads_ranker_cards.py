"""The packaged technique cards, said in the reference codebase's knobs, are configs that it accepts."""

from __future__ import annotations

import copy
from pathlib import Path

import config
import pytest

from rea.codebase.config import load
from rea.domain.technique import Technique
from rea.knowledge.cards import load_techniques
from rea.knowledge.expression import express, needs

TECHNIQUES = load_techniques()
NEEDS_CODE = {
    "ensemble-distillation",
    "interaction-eulernet",
    "interaction-token-mixing",
    "low-rank-mlp",
    "second-task",
    "sequence-transducer",
    "session-listwise-loss",
    "shampoo",
    "table-compression",
    "target-attention",
    "warm-start",
}


@pytest.fixture(scope="module")
def codebase(ads_ranker: Path):
    return load(ads_ranker)


def values_of(codebase, settings: dict) -> dict:
    return {knob.name: settings[knob.name.split(".")[0]][knob.name.split(".")[1]] for knob in codebase.knobs}


def test_every_knob_of_rea_toml_is_a_setting_whose_values_are_accepted(codebase, small_config):
    for knob in codebase.knobs:
        section, key = knob.name.split(".")
        assert key in config.SECTIONS[section]
        for value in (*knob.choices, *(v for v in (knob.low, knob.high) if v is not None)):
            changed = copy.deepcopy(small_config)
            changed[section][key] = int(value) if isinstance(value, float) and value == int(value) else value
            config.check(changed)


def test_cards_that_need_code_are_the_ones_that_are_known_to(codebase):
    assert {card.name for card in TECHNIQUES if needs(card, codebase)} == NEEDS_CODE


@pytest.mark.parametrize("card", TECHNIQUES, ids=lambda card: card.name)
def test_a_card_gives_configs_that_the_trainer_accepts_whatever_the_family(card: Technique, codebase, ads_ranker):
    expressed = 0
    production = config.load(ads_ranker / "configs" / "generated_dcnv2.yaml")
    production["features"]["numeric_encoding"] = "raw"  # so that there is something for every card to change
    for interaction in config.INTERACTIONS:
        base = copy.deepcopy(production)
        base["model"]["interaction"] = interaction
        for treatment in express(card, codebase, values_of(codebase, base)):
            changed = copy.deepcopy(base)
            for name, value in treatment.overrides.items():
                section, key = name.split(".")
                changed[section][key] = value
            checked = config.check(changed)
            for name, value in treatment.overrides.items():
                section, key = name.split(".")
                assert checked[section][key] == value
            expressed += 1
    assert expressed or card.name in NEEDS_CODE
