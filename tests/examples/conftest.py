"""The reference codebase is a folder of scripts, as a team would own it: its tests put that folder on the path."""

import copy
import sys
from pathlib import Path

import pytest

ADS_RANKER = Path(__file__).resolve().parents[2] / "examples" / "ads_ranker"
sys.path.insert(0, str(ADS_RANKER))


@pytest.fixture(scope="session")
def ads_ranker() -> Path:
    return ADS_RANKER


@pytest.fixture(scope="session")
def _small() -> dict:
    import config

    small = config.load(ADS_RANKER / "configs" / "generated_dcnv2.yaml")
    small["data"]["rows"] = 3000
    small["model"].update(embedding_dim=4, mlp_units="16,8")
    small["optim"].update(lr=0.01)
    small["train"].update(epochs=2, batch_size=256)
    return small


@pytest.fixture
def small_config(_small: dict) -> dict:
    """A config that trains in a tenth of a second; each test gets a copy of its own."""
    return copy.deepcopy(_small)
