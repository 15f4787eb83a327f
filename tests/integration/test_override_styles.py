"""A treatment reaches a real trainer process through every config style, value by value."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rea.codebase.config import load
from rea.codebase.overrides import baseline_values, evaluate_command, prepare
from rea.codebase.resolved import Agreement, verify
from rea.domain.codebase import Codebase, Scalar
from rea.domain.errors import ConfigError, GuardrailError
from rea.domain.treatment import Treatment

REPORT = """
def report(config, seed):
    line = {"config": config, "seed": int(seed)}
    with open(os.environ["REA_METRICS"], "a") as file:
        file.write(json.dumps(line) + "\\n")
        file.write(json.dumps({"final": True, "split": "valid", "ne": 0.8}) + "\\n")
"""

FILE_TRAINER = (
    """
import argparse, json, os, sys
{load}
"""
    + REPORT.replace("{", "{{").replace("}", "}}")
    + """
parser = argparse.ArgumentParser()
parser.add_argument("--config", required=True)
parser.add_argument("--seed", type=int, required=True)
args = parser.parse_args()
with open(args.config, "rb") as file:
    config = {parse}
report(config, args.seed)
"""
)

TRAINERS = {
    "yaml": FILE_TRAINER.format(load="import yaml", parse="yaml.safe_load(file)"),
    "toml": FILE_TRAINER.format(load="import tomllib", parse="tomllib.load(file)"),
    "json": FILE_TRAINER.format(load="", parse="json.load(file)"),
    "hydra": "import json, os\nimport hydra\nfrom omegaconf import OmegaConf\n"
    + REPORT
    + """
@hydra.main(version_base=None, config_path="configs", config_name="config")
def main(cfg):
    report(OmegaConf.to_container(cfg, resolve=True), cfg.seed)

main()
""",
    "argparse": "import argparse, json, os\n"
    + REPORT
    + """
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--optim.lr", type=float, default=0.1)
parser.add_argument("--model.note", default="plain")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--model.units", type=int, nargs="+", default=[128, 64])
parser.add_argument("--model.bias", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--no-shuffle", dest="shuffle", action="store_false")
args = vars(parser.parse_args())
report(args, args["seed"])
""",
    "env": "import json, os\n"
    + REPORT
    + """
config = {
    "LR": float(os.environ.get("LR", "0.1")),
    "NOTE": os.environ.get("NOTE", "plain"),
    "BIAS": os.environ.get("BIAS", "true"),
    "SECRET": os.environ.get("SECRET"),
}
report(config, os.environ["REA_SEED"])
""",
}

YAML = """\
seed: 0
optim:
  lr: 0.1   # tuned by hand
model:
  note: plain
  bias: true
  units: [128, 64]
batch_size: 64
"""
CONFIGS = {
    "yaml": YAML,
    "toml": """\
batch_size = 64
[optim]
lr = 0.1  # tuned by hand
[model]
note = "plain"
bias = true
units = [128, 64]
""",
    "json": """\
{"optim": {"lr": 0.1}, "batch_size": 64,
 "model": {"note": "plain", "bias": true, "units": [128, 64]}}
""",
    "hydra": "defaults:\n  - arch: mlp\n  - _self_\n" + YAML,
}

KNOBS = """
"optim.lr" = { role = "learning_rate", type = "float", range = [-1, 1] }
"model.note" = { type = "str" }
"model.bias" = { type = "bool" }
"model.units" = { type = "str" }
"batch_size" = { type = "int", range = [1, 4096] }
"""
ENV_KNOBS = """
"LR" = { type = "float", range = [-1, 1] }
"NOTE" = { type = "str" }
"BIAS" = { type = "bool" }
"""

TRICKY = [
    "two words",
    "it's",
    'say "x"',
    "a=b",
    "naïve ünïcode ☃",
    "-dash",
    "null",
    "true",
    "1e-3",
    "${x}",
    "{seed}",
    "a,b",
    "#c",
    "x: y",
]


def make(folder: Path, style: str, *, knobs: str = "", train: str = "") -> Codebase:
    (folder / "configs").mkdir(parents=True)
    suffix = "yaml" if style == "hydra" else style
    if style in CONFIGS:
        (folder / f"configs/config.{suffix}").write_text(CONFIGS[style])
    if style == "hydra":
        (folder / "configs/arch").mkdir()
        (folder / "configs/arch/mlp.yaml").write_text("kind: mlp\ndepth: 2\n")
        (folder / "configs/arch/dcn.yaml").write_text("kind: dcn\ndepth: 3\n")
        knobs += '\n"arch" = { role = "interaction", choices = ["mlp", "dcn"] }\n'
        knobs += '"arch.depth" = { type = "int", range = [1, 9] }\n'
        knobs += '"trainer.clip" = { type = "float", range = [0, 9], default = 0.0 }\n'
    if style == "argparse":
        knobs += '\n"amp" = { type = "bool" }\n"shuffle" = { type = "bool" }\n'
    (folder / "train.py").write_text(TRAINERS[style])
    (folder / "evaluate.py").write_text("import sys, json; print(json.dumps({'argv': sys.argv[1:]}))")
    default = {
        "hydra": "{python} train.py seed={seed}",
        "argparse": "{python} train.py --seed {seed}",
        "env": "{python} train.py",
    }.get(style, "{python} train.py --config {config} --seed {seed}")
    config = f'config = "configs/config.{suffix}"' if style in ("yaml", "toml", "json") else ""
    (folder / "rea.toml").write_text(f"""
[codebase]
name = "tiny"
python = "{sys.executable}"
train = "{train or default}"
evaluate = "{{python}} evaluate.py --predictions {{predictions}} --split {{split}} --config configs/config.{suffix}"
style = "{style}"
{config}
protected = ["evaluate.py"]
[objective]
metric = "ne"
direction = "minimize"
split = "valid"
[resources]
walltime = "1m"
[knobs]
{ENV_KNOBS if style == "env" else KNOBS}
{knobs}
""")
    return load(folder)


def train(codebase: Codebase, run_dir: Path, overrides: dict[str, Scalar], seed: int = 7) -> dict[str, Any]:
    """Run the trainer for real and return the config that it reported."""
    root = Path(codebase.root)
    env = {"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8", "LANG": "C.UTF-8"}
    command = prepare(codebase, Treatment(overrides), worktree=root, run_dir=run_dir, seed=seed, env=env)
    done = subprocess.run(
        command.argv, env=dict(command.env), cwd=command.cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    line = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[0])
    assert line["seed"] == seed
    return line["config"]


def flat(config: dict[str, Any], start: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{start}{key}.") if isinstance(value, dict) else {f"{start}{key}": value}
    return result


@pytest.mark.parametrize("style", ["yaml", "toml", "json", "hydra", "argparse"])
def test_every_asked_value_arrives(tmp_path: Path, style: str) -> None:
    codebase = make(tmp_path / "code", style)
    asked: dict[str, Scalar] = {
        "optim.lr": -1e-07,
        "model.note": 'it\'s "ü" = ☃ ${x} {seed}',
        "model.bias": False,
        "model.units": "256,128,64",
        "batch_size": 2048,
    }
    got = flat(train(codebase, tmp_path / "run", asked))
    assert got["optim.lr"] == -1e-07
    assert got["model.note"] == asked["model.note"]
    assert got["model.bias"] is False
    assert got["model.units"] == [256, 128, 64]
    assert got["batch_size"] == 2048
    assert verify(asked, tmp_path / "run").agreement is Agreement.VERIFIED


def test_every_asked_value_arrives_through_variables(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "env")
    asked: dict[str, Scalar] = {"LR": -1e-07, "NOTE": 'it\'s "ü" = ☃ ${x}\nnext', "BIAS": False}
    got = train(codebase, tmp_path / "run", asked)
    assert got == {"LR": -1e-07, "NOTE": asked["NOTE"], "BIAS": "false", "SECRET": None}
    assert verify(asked, tmp_path / "run").agreement is Agreement.VERIFIED


@pytest.mark.parametrize("style", ["yaml", "toml", "json", "hydra", "argparse", "env"])
def test_the_baseline_trains_with_what_baseline_values_says(tmp_path: Path, style: str) -> None:
    codebase = make(tmp_path / "code", style)
    values = baseline_values(codebase, tmp_path / "code")
    got = flat(train(codebase, tmp_path / "run", {}))
    lr, note, bias = ("LR", "NOTE", "BIAS") if style == "env" else ("optim.lr", "model.note", "model.bias")
    assert values[lr] == got[lr] == 0.1
    assert values[note] == got[note] == "plain"
    assert values[bias] is True
    if style != "env":
        assert values["model.units"] == "128,64"
        assert values["batch_size"] == 64
    assert verify(
        {name: value for name, value in values.items() if name not in ("arch", "trainer.clip")}, tmp_path / "run"
    ).agreement is (Agreement.VERIFIED)


def test_every_tricky_text_arrives_unchanged_on_a_command_line(tmp_path: Path) -> None:
    for style in ("hydra", "argparse"):
        codebase = make(
            tmp_path / style, style, knobs="".join(f'"n{i}" = {{ type = "str" }}\n' for i in range(len(TRICKY)))
        )
        script = tmp_path / style / "train.py"
        if style == "argparse":
            lines = "".join(f'parser.add_argument("--n{i}")\n' for i in range(len(TRICKY)))
            script.write_text(script.read_text().replace("args = vars", lines + "args = vars"))
        else:
            with (tmp_path / style / "configs/config.yaml").open("a") as file:
                file.writelines(f"n{i}: x\n" for i in range(len(TRICKY)))
        got = train(codebase, tmp_path / f"run-{style}", {f"n{i}": text for i, text in enumerate(TRICKY)})
        assert [got[f"n{i}"] for i in range(len(TRICKY))] == TRICKY


def test_hydra_chooses_a_group_changes_a_setting_in_it_and_adds_an_absent_key(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "hydra")
    assert baseline_values(codebase, tmp_path / "code") | {"arch": "mlp", "arch.depth": 2, "trainer.clip": 0.0} == (
        baseline_values(codebase, tmp_path / "code")
    )
    got = train(codebase, tmp_path / "run", {"arch": "dcn", "trainer.clip": 1.0})
    assert got["arch"] == {"kind": "dcn", "depth": 3}
    assert got["trainer"] == {"clip": 1.0}
    got = train(codebase, tmp_path / "run2", {"arch.depth": 5})
    assert got["arch"] == {"kind": "mlp", "depth": 5}
    assert (tmp_path / "run/hydra/.hydra/config.yaml").is_file()
    assert not (tmp_path / "code/outputs").exists()


def test_a_choice_of_the_train_command_gives_way_to_the_treatment(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "hydra", train="{python} train.py seed={seed} arch=dcn optim.lr=0.5")
    assert baseline_values(codebase, tmp_path / "code")["arch"] == "dcn"
    assert baseline_values(codebase, tmp_path / "code")["optim.lr"] == 0.5
    got = train(codebase, tmp_path / "run", {"arch": "mlp", "optim.lr": 0.2})
    assert (got["arch"]["kind"], got["optim"]["lr"]) == ("mlp", 0.2)


def test_switches_of_argparse_are_written_as_they_are_declared(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "argparse", train="{python} train.py --seed {seed} --amp --optim.lr 0.3")
    values = baseline_values(codebase, tmp_path / "code")
    assert (values["amp"], values["shuffle"], values["optim.lr"]) == (True, True, 0.3)
    got = train(codebase, tmp_path / "run", {"amp": False, "shuffle": False, "model.bias": False, "optim.lr": 0.2})
    assert (got["amp"], got["shuffle"], got["model.bias"], got["optim.lr"]) == (False, False, False, 0.2)
    got = train(codebase, tmp_path / "run2", {"amp": True, "shuffle": True, "model.bias": True})
    assert (got["amp"], got["shuffle"], got["model.bias"]) == (True, True, True)


def test_a_trainer_that_ignores_an_override_is_caught(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "argparse")
    script = tmp_path / "code/train.py"
    script.write_text(script.read_text().replace("report(args", 'args["optim.lr"] = 0.1\nreport(args'))
    asked: dict[str, Scalar] = {"optim.lr": 0.5, "batch_size": 32}
    train(codebase, tmp_path / "run", asked)
    result = verify(asked, tmp_path / "run")
    assert result.agreement is Agreement.MISMATCH
    assert "optim.lr" in result.text
    assert "0.5" in result.text
    assert "0.1" in result.text
    assert "batch_size" not in result.text


def test_a_hydra_trainer_that_reports_nothing_is_read_from_hydras_own_record(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "hydra")
    script = tmp_path / "code/train.py"
    script.write_text(script.read_text().replace("json.dumps(line)", 'json.dumps({"epoch": 1})'))
    command = prepare(
        codebase, Treatment({"optim.lr": 0.5}), worktree=tmp_path / "code", run_dir=tmp_path / "run", seed=1, env={}
    )
    subprocess.run(command.argv, env=dict(command.env), cwd=command.cwd, check=True, capture_output=True)
    assert verify({"optim.lr": 0.5}, tmp_path / "run").agreement is Agreement.VERIFIED
    assert verify({"optim.lr": 0.25}, tmp_path / "run").agreement is Agreement.MISMATCH


def test_config_is_copied_byte_for_byte_apart_from_the_values_asked(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "yaml")
    prepare(
        codebase, Treatment({"optim.lr": 1e-3}), worktree=tmp_path / "code", run_dir=tmp_path / "run", seed=1, env={}
    )
    assert (tmp_path / "run/config.yaml").read_text() == CONFIGS["yaml"].replace("lr: 0.1 ", "lr: 0.001 ")
    assert (tmp_path / "code/configs/config.yaml").read_text() == CONFIGS["yaml"]


@pytest.mark.parametrize("style", ["yaml", "toml", "json"])
def test_an_override_the_config_does_not_have_is_an_error_naming_the_nearest(tmp_path: Path, style: str) -> None:
    codebase = make(tmp_path / "code", style, knobs='"optimizer.lr" = { type = "float", range = [0, 1] }')
    with pytest.raises(ConfigError, match=r"'optim\.lr'"):
        prepare(
            codebase,
            Treatment({"optimizer.lr": 0.5}),
            worktree=tmp_path / "code",
            run_dir=tmp_path / "r",
            seed=1,
            env={},
        )


def test_argparse_never_gets_an_abbreviation_it_would_complete(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "argparse", knobs='"batch" = { type = "int", range = [1, 9] }')
    with pytest.raises(ConfigError, match="--batch-size"):
        prepare(codebase, Treatment({"batch": 3}), worktree=tmp_path / "code", run_dir=tmp_path / "r", seed=1, env={})


@pytest.mark.parametrize("overrides", [{"optim.lr": 5.0}, {"unknown": 1}, {"batch_size": 2.5}, {"model.bias": "yes"}])
def test_what_rea_toml_does_not_allow_never_reaches_a_trainer(tmp_path: Path, overrides: dict[str, Scalar]) -> None:
    codebase = make(tmp_path / "code", "yaml")
    with pytest.raises(GuardrailError):
        prepare(codebase, Treatment(overrides), worktree=tmp_path / "code", run_dir=tmp_path / "r", seed=1, env={})
    assert not (tmp_path / "r").exists()


def test_python_is_the_checkouts_even_when_training_runs_from_a_worktree(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "yaml")
    toml = tmp_path / "code/rea.toml"
    toml.write_text(toml.read_text().replace(sys.executable, "env/bin/python"))
    (tmp_path / "code/env/bin").mkdir(parents=True)
    (tmp_path / "code/env/bin/python").symlink_to(sys.executable)
    codebase = load(tmp_path / "code")
    worktree = tmp_path / "tree"
    shutil.copytree(tmp_path / "code/configs", worktree / "configs")
    command = prepare(codebase, Treatment(), worktree=worktree, run_dir=tmp_path / "run", seed=1, env={})
    assert command.argv[0] == str(tmp_path / "code/env/bin/python")
    assert command.cwd == worktree
    assert subprocess.run([command.argv[0], "-c", ""], check=False).returncode == 0
    toml.write_text(toml.read_text().replace("env/bin/python", "python3"))
    bare = prepare(load(tmp_path / "code"), Treatment(), worktree=worktree, run_dir=tmp_path / "run", seed=1, env={})
    assert bare.argv[0] == "python3"


def test_the_environment_is_what_was_given_and_reas_own(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "yaml")
    run_dir = tmp_path / "run"
    command = prepare(codebase, Treatment(), worktree=tmp_path / "code", run_dir=run_dir, seed=3, env={"A": "b"})
    assert command.env == {
        "A": "b",
        "REA_RUN_DIR": str(run_dir),
        "REA_METRICS": str(run_dir / "metrics.jsonl"),
        "REA_SEED": "3",
    }


def test_the_evaluator_runs_from_the_pinned_tree_with_the_baselines_config(tmp_path: Path) -> None:
    codebase = make(tmp_path / "code", "yaml")
    command = evaluate_command(codebase, tmp_path / "code", tmp_path / "run dir", "valid", 3, env={"PATH": "/usr/bin"})
    assert command is not None
    done = subprocess.run(
        command.argv, env=dict(command.env), cwd=command.cwd, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["argv"] == [
        "--predictions",
        str(tmp_path / "run dir/predictions_valid.npy"),
        "--split",
        "valid",
        "--config",
        "configs/config.yaml",
    ]
    assert command.env["REA_METRICS"].endswith("evaluation_valid.jsonl")
