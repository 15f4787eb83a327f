"""The drafted `rea.toml` always loads, and reads out of a repository what is there to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rea.codebase.config import FILE_NAME, load, parse
from rea.codebase.doctor import examine
from rea.codebase.init import draft, write
from rea.codebase.overrides import baseline_values
from rea.domain.codebase import Codebase, ConfigStyle, KnobType
from rea.domain.errors import UsageError

ARGUMENTS = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--activation", choices=["relu", "gelu"], default="relu")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--seed", type=int)
parser.add_argument("--data-path", default="data/x.csv")
if __name__ == "__main__":
    args = parser.parse_args()
    print(json.dumps({"epoch": 1, "split": "valid", "auc": 0.7}), file=open(os.environ["REA_METRICS"], "a"))
"""
CONFIGURED = """
import argparse, yaml
parser = argparse.ArgumentParser()
parser.add_argument("--config", default="configs/base.yaml")
parser.add_argument("--seed", type=int, default=0)
if __name__ == "__main__":
    print({"epoch": 1, "split": "valid", "ne": 0.8}, "test", "adam", "adagrad", "cuda", "REA_METRICS")
"""
BASE = """\
seed: 1
data: {path: data/x.csv, batch_size: 4096}
optim: {name: adam, lr: 1e-3, weight_decay: 0.0}
model: {embedding_dim: 16, mlp_units: [400, 400], dropout: 0.9, foo: 3.0}
"""
EVALUATE = (
    'import argparse\np = argparse.ArgumentParser()\np.add_argument("--predictions")\np.add_argument("--split")\n'
)


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def drafted(root: Path) -> tuple[Codebase, str, str]:
    made = draft(root)
    return parse(made.text, root), made.text, "\n".join(made.notes)


def test_a_trainer_with_a_config_flag(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "train.py": CONFIGURED,
            "configs/base.yaml": BASE,
            "configs/wide.yaml": BASE,
            "evaluate.py": EVALUATE,
            "models/tower.py": "",
            "data/x.csv": "",
            ".venv/bin/python": "",
            ".venv/lib/train.py": CONFIGURED,
            "mkdocs.yml": "site: x\n",
        },
    )
    codebase, text, notes = drafted(tmp_path)
    assert codebase.style is ConfigStyle.YAML
    assert codebase.train == "{python} train.py --config {config} --seed {seed}"
    assert codebase.evaluate == "{python} evaluate.py --predictions {predictions} --split {split}"
    assert (codebase.config, codebase.python) == ("configs/base.yaml", ".venv/bin/python")
    assert codebase.editable == ("models/**",)
    assert codebase.protected == ("evaluate.py", "data/**")
    assert (codebase.objective.metric, codebase.objective.split, codebase.objective.sealed) == ("ne", "valid", "test")
    assert codebase.resources.gpus == 1
    lr = codebase.by_role("learning_rate")
    assert lr is not None
    assert (lr.name, lr.type, lr.log) == ("optim.lr", KnobType.FLOAT, True)
    optimizer = codebase.by_role("optimizer")
    assert optimizer is not None
    assert optimizer.choices == ("adam", "adagrad")
    assert codebase.knob("seed") is None
    assert codebase.knob("data.path") is None
    assert '# "model.foo"' in text
    assert "configs/wide.yaml" in notes


def test_the_baseline_lies_within_every_drafted_knob(tmp_path: Path) -> None:
    put(tmp_path, {"train.py": CONFIGURED, "configs/base.yaml": BASE})
    codebase, _, _ = drafted(tmp_path)
    values = baseline_values(codebase, tmp_path)
    assert len(codebase.knobs) >= 6
    for knob in codebase.knobs:
        assert knob.allows(values[knob.name]), knob.name


def test_a_trainer_with_flags(tmp_path: Path) -> None:
    put(tmp_path, {"tools/run_training.py": ARGUMENTS})
    codebase, _, notes = drafted(tmp_path)
    assert codebase.style is ConfigStyle.ARGPARSE
    assert codebase.train == "{python} tools/run_training.py --seed {seed}"
    assert [knob.name for knob in codebase.knobs] == ["lr", "activation", "epochs"]
    assert codebase.objective.direction == "maximize"
    assert "evaluation script" in notes


def test_a_hydra_trainer(tmp_path: Path) -> None:
    main = (
        'import hydra\n@hydra.main(version_base=None, config_path="conf", config_name="config")\ndef main(cfg): ...\n'
    )
    put(
        tmp_path,
        {
            "main.py": main,
            "conf/config.yaml": "defaults:\n  - model: dcn\n  - optim: adam\nrun: {seed: 3}\nbatch_size: 64\n",
            "conf/model/dcn.yaml": "depth: 2\n",
            "conf/model/dlrm.yaml": "depth: 3\n",
            "conf/optim/adam.yaml": "lr: 0.01\n",
        },
    )
    codebase, _, _ = drafted(tmp_path)
    assert codebase.style is ConfigStyle.HYDRA
    assert codebase.train == "{python} main.py run.seed={seed}"
    assert codebase.knobs[0].choices == ("dcn", "dlrm")
    assert {knob.name for knob in codebase.knobs} == {"model", "optim.lr", "batch_size"}


def test_a_trainer_that_reads_variables(tmp_path: Path) -> None:
    put(tmp_path, {"train.py": 'import os\nlr = float(os.getenv("LR", "0.1"))\nseed = os.environ["REA_SEED"]\n'})
    codebase, _, notes = drafted(tmp_path)
    assert codebase.style is ConfigStyle.ENV
    assert [knob.name for knob in codebase.knobs] == ["LR"]
    assert "REA_SEED" not in notes


def test_what_could_not_be_guessed_is_said_and_the_draft_still_loads(tmp_path: Path) -> None:
    codebase, text, notes = drafted(tmp_path)
    assert codebase.knobs == ()
    for missing in ("training script", "virtual environment", "evaluation script", "metric", "split", "editable"):
        assert missing in notes
    assert text.count("←") >= 4


def test_a_folder_whose_name_is_no_name_gets_the_nearest_one(tmp_path: Path) -> None:
    for folder, name in (("My Ranker (2024)", "My-Ranker-2024"), ("模型", "model")):
        put(tmp_path / folder, {"train.py": ARGUMENTS})
        assert parse(draft(tmp_path / folder).text, tmp_path / folder).name == name


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    put(tmp_path, {"train.py": ARGUMENTS})
    write(tmp_path)
    (tmp_path / FILE_NAME).write_text((tmp_path / FILE_NAME).read_text() + "# mine\n")
    with pytest.raises(UsageError, match="left as it is"):
        write(tmp_path)
    assert (tmp_path / FILE_NAME).read_text().endswith("# mine\n")
    load(tmp_path)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-9, 10**6)
    | st.floats(-10, 1e6)
    | st.sampled_from(["adam", "x/y.csv", "64,32", "1e-3"])
)
NAMES = st.sampled_from(
    [
        "lr",
        "batch_size",
        "dropout",
        "optimizer",
        "mlp_units",
        "epochs",
        "emb_dim",
        "seed",
        "note",
        "a b",
        "weight_decay",
        "é",
        "model",
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.dictionaries(NAMES, LEAVES | st.lists(st.integers(1, 512), max_size=3) | st.dictionaries(NAMES, LEAVES)),
    defaults=st.dictionaries(st.sampled_from(["lr", "epochs", "dropout", "optimizer", "amp", "seed"]), LEAVES),
    flagged=st.booleans(),
)
def test_any_repository_gets_a_draft_that_loads(tmp_path: Path, config: dict, defaults: dict, flagged: bool) -> None:
    import yaml

    lines = ["import argparse", "p = argparse.ArgumentParser()"]
    lines += ['p.add_argument("--config")'] if flagged else []
    lines += [f'p.add_argument("--{name}", default={value!r})' for name, value in defaults.items()]
    put(tmp_path, {"train.py": "\n".join(lines), "configs/a.yaml": yaml.safe_dump(config, allow_unicode=True)})
    codebase, _, _ = drafted(tmp_path)
    values = baseline_values(codebase, tmp_path)
    assert all(knob.allows(values[knob.name]) for knob in codebase.knobs if knob.name in values)


def test_the_doctor_finds_nothing_wrong_with_a_draft_but_git_and_signers(tmp_path: Path) -> None:
    put(tmp_path, {"train.py": CONFIGURED, "configs/base.yaml": BASE, "evaluate.py": EVALUATE})
    write(tmp_path)
    assert {check.name for check in examine(tmp_path) if check.ok is False} <= {"git", "approvals", "disk"}
