"""Roles and the guess at a knob's role."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import KnobType
from rea.knowledge.roles import guess, load_roles

FUXICTR = {
    "learning_rate": "learning_rate",
    "embedding_regularizer": "embedding_l2",
    "net_regularizer": "weight_decay",
    "embedding_dim": "embedding_dim",
    "dnn_hidden_units": "mlp_units",
    "dnn_activations": "activation",
    "net_dropout": "dropout",
    "batch_norm": "normalization",
    "min_categr_count": "min_count",
    "num_cross_layers": "cross_layers",
    "low_rank": "cross_rank",
    "early_stop_patience": "patience",
}
FLAGS_AND_PATHS = {
    "--lr": "learning_rate",
    "--mini-batch-size": "batch_size",
    "--arch-sparse-feature-size": "embedding_dim",
    "--arch-interaction-op": "interaction",
    "LEARNING_RATE": "learning_rate",
    "learningRate": "learning_rate",
    "optim.lr": "learning_rate",
    "module.optimizer.lr": "learning_rate",
    "optimizer.name": "optimizer",
    "optim.weight_decay": "weight_decay",
    "embedding.lr": "embedding_learning_rate",
    "optimizer.embedding_lr": "embedding_learning_rate",
    "model.embedding.dropout": "embedding_dropout",
    "model.dropout": "dropout",
    "embedding.init_std": "embedding_init_std",
    "loss.pairwise_weight": "pairwise_weight",
    "features.numeric_encoding": "numeric_encoding",
    "trainer.max_epochs": "epochs",
    "max_grad_norm": "gradient_clip",
    "num_workers": "data_workers",
    "gradient_accumulation_steps": "accumulation_steps",
    "train.micro_batch_size": "micro_batch",
    "model.name": "interaction",
}
NOT_KNOBS = [
    "seed",
    "data.path",
    "device",
    "log_every",
    "warmup_steps",
    "rank",
    "output_dir",
    "name",
    "",
]


@pytest.mark.parametrize(("name", "role"), (FUXICTR | FLAGS_AND_PATHS).items())
def test_common_names_of_knobs_get_their_role(name: str, role: str) -> None:
    assert guess(name) == role


@pytest.mark.parametrize("name", NOT_KNOBS)
def test_names_without_a_role_are_not_guessed(name: str) -> None:
    """A seed is never a knob, and warm-up in steps is not warm-up as a share."""
    assert guess(name) is None


@pytest.mark.parametrize("role", load_roles())
def test_a_role_is_guessed_from_its_own_name_at_any_depth(role: str) -> None:
    assert guess(role) == role
    assert guess(f"train.{role}") == role
    assert guess(role.upper()) == role
    assert guess("--" + role.replace("_", "-")) == role


@pytest.mark.parametrize("role", load_roles().values(), ids=lambda role: role.name)
def test_a_role_can_be_drafted_as_a_knob(role) -> None:  # type: ignore[no-untyped-def]
    numeric = role.type in (KnobType.FLOAT, KnobType.INT)
    assert role.meaning
    assert (role.low is not None and role.high is not None and role.low < role.high) == numeric
    assert not role.log or role.low > 0
    assert not role.choices or len(set(role.choices)) == len(role.choices)


@given(st.text(max_size=60))
def test_any_text_is_guessed_without_an_error(name: str) -> None:
    assert guess(name) is None or guess(name) in load_roles()
