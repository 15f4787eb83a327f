"""`rea.toml`: what it means, and that every mistake is named with its place and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rea.codebase.config import digest, find, load
from rea.domain.codebase import ConfigStyle, KnobType
from rea.domain.errors import ConfigError

GOOD = """
[codebase]
name = "ads-ranker"
python = ".venv/bin/python"
train = "{python} train.py --config {config} --seed {seed}"
evaluate = "{python} evaluate.py --predictions {run_dir}/predictions_{split}.npy --split {split}"
config = "configs/dcnv2.yaml"
style = "yaml"
editable = ["models/**", "losses.py"]
protected = ["evaluate.py", "data/**"]
env = ["HF_HOME"]

[objective]
metric = "ne"
direction = "minimize"
split = "valid"
sealed = "test"
minimum_gain = 0.0005
[[objective.guardrail]]
metric = "calibration"
min = 0.95
max = 1.05

[resources]
cpus = 2
gpus = 1
memory = "2GiB"
walltime = "1h30m"

[launcher]
kind = "slurm"
slots = 4
partition = "short"

[knobs]
"optim.lr" = { role = "learning_rate", type = "float", range = [1e-4, 1e-1], log = true }
"model.interaction" = { role = "interaction", choices = ["mlp", "dcnv2"] }
"model.layers" = { type = "int", range = [1, 4], default = 2 }
"model.second_lr" = { role = "learning_rate", type = "float", range = [1e-4, 1e-1] }
"model.bias" = { type = "bool" }
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/dcnv2.yaml").write_text("optim: {lr: 0.1}\n")
    (tmp_path / "configs/other.yaml").write_text("optim: {lr: 0.1}\n")
    (tmp_path / "rea.toml").write_text(GOOD)
    return tmp_path


def test_every_table_arrives(root: Path) -> None:
    codebase = load(root)
    assert (codebase.name, codebase.root, codebase.style) == ("ads-ranker", str(root), ConfigStyle.YAML)
    assert codebase.env == ("HF_HOME",)
    assert codebase.objective.sealed == "test"
    assert codebase.objective.guardrails[0].maximum == 1.05
    assert (codebase.resources.memory_bytes, codebase.resources.walltime_s) == (2 * 2**30, 5400.0)
    assert (codebase.launcher.kind, codebase.launcher.slots) == ("slurm", 4)
    assert codebase.launcher.options == {"partition": "short"}
    lr, interaction, layers, _, bias = codebase.knobs
    assert (lr.low, lr.high, lr.log) == (1e-4, 1e-1, True)
    assert (interaction.type, interaction.choices) == (KnobType.STR, ("mlp", "dcnv2"))
    assert (layers.type, layers.default) == (KnobType.INT, 2)
    assert bias.type is KnobType.BOOL


def test_of_two_knobs_with_one_role_the_first_wins(root: Path) -> None:
    knob = load(root).by_role("learning_rate")
    assert knob is not None
    assert knob.name == "optim.lr"


def test_a_config_given_by_hand_replaces_the_one_in_the_file(root: Path) -> None:
    assert load(root, config="configs/other.yaml").config == "configs/other.yaml"
    assert load(root, config=str(root / "configs/other.yaml")).config == "configs/other.yaml"


def test_the_nearest_file_above_is_found(root: Path) -> None:
    assert find(root / "configs") == root
    with pytest.raises(ConfigError, match=r"rea init"):
        find(Path("/"))


def test_the_digest_is_of_the_meaning_and_not_of_the_place_or_the_spelling(root: Path, tmp_path_factory) -> None:
    before = digest(load(root))
    other = tmp_path_factory.mktemp("other")
    (other / "configs").mkdir()
    (other / "configs/dcnv2.yaml").write_text("")
    (other / "rea.toml").write_text("# moved\n" + GOOD.replace('"1h30m"', '"90m"'))
    assert digest(load(other)) == before
    (other / "rea.toml").write_text(GOOD.replace("1e-1]", "2e-1]", 1))
    assert digest(load(other)) != before


MISTAKES = [
    ('"ads-ranker"', '"../ads ranker"', ["[codebase] name", '"../ads ranker"', "letters, digits", '"ads-ranker"']),
    ('"ads-ranker"', '"a\\u009b\\u202eb"', ["[codebase] name", "a\\u009b\\u202eb", "letters", 'such as "a-b"']),
    ('"ads-ranker"', '""', ["[codebase] name", 'found ""', '"ads-ranker"']),
    ('metric = "ne"', 'metrik = "ne"', ["[objective] metrik", "'metric'"]),
    ('metric = "ne"', "metric = 3", ["[objective] metric", "found 3", "expected the name of the metric"]),
    ('memory = "2GiB"', 'memory = "2 gigs"', ["[resources] memory", '"2 gigs"', "2GiB"]),
    ('walltime = "1h30m"', 'walltime = "10"', ["[resources] walltime", '"10"', "1h30m"]),
    ('walltime = "1h30m"', "walltime = 10", ["[resources] walltime", "found 10", "1h30m"]),
    ("cpus = 2", 'idle = "20"', ["[resources] idle", '"20"', "1h30m"]),
    ("cpus = 2", 'cpus = "2"', ["[resources] cpus", 'found "2"', "whole number"]),
    ("cpus = 2", "cpus = 0", ["[resources] cpus", "found 0", "at least 1"]),
    ("range = [1e-4, 1e-1], log", "range = [1e-1, 1e-4], log", ['"optim.lr" range', "reversed", "write [0.0001, 0.1]"]),
    ("range = [1e-4, 1e-1], log", "range = [1e-4], log", ['"optim.lr" range', "two numbers"]),
    ("range = [1e-4, 1e-1], log", "range = [0, 1e-1], log", ['"optim.lr" range', "above 0"]),
    ("range = [1, 4], default = 2", "range = [1, 4.5]", ['"model.layers" range', "whole numbers"]),
    ("default = 2", "default = 9", ['"model.layers" default', "found 9"]),
    ('type = "float", range = [1e-4, 1e-1], log = true', 'type = "float"', ["neither range nor choices"]),
    ('choices = ["mlp", "dcnv2"]', 'choices = ["mlp"], range = [1, 2]', ["both range and choices"]),
    ('choices = ["mlp", "dcnv2"]', "choices = []", ["found []"]),
    ('choices = ["mlp", "dcnv2"]', 'type = "int", choices = ["mlp", 1]', ['found "mlp"', "int"]),
    ('choices = ["mlp", "dcnv2"]', "choices = [[128, 64]]", ["found [128, 64]", '"128,64"']),
    ('role = "interaction", choices = ["mlp", "dcnv2"]', 'role = "interaction"', ["type is missing"]),
    ('type = "float", range = [1e-4, 1e-1], log', 'type = "flaot", range = [1e-4, 1e-1], log', ["'float'"]),
    ("log = true", "lgo = true", ['"optim.lr" lgo', "'log'"]),
    ('"optim.lr" =', "optim.lr =", ['"optim.lr" = { … }']),
    ("--seed {seed}", "--seed {sede}", ["{sede}", "{seed}"]),
    ("--seed {seed}", "", ["[codebase] train", "{seed}"]),
    ("--config {config} ", "", ["[codebase] train", "{config}"]),
    ("--seed {seed}", "--seed {seed} | tee log", ["[codebase] train", "'|'", "shell"]),
    ("--seed {seed}", "--seed '{seed}", ["[codebase] train", "quot"]),
    ("--predictions {run_dir}/predictions_{split}.npy ", "", ["[codebase] evaluate", "{predictions}"]),
    ("predictions_{split}.npy --split {split}", "predictions.npy", ["[codebase] evaluate", "{split}"]),
    ('style = "yaml"', 'style = "yml"', ["[codebase] style", '"yml"', "'yaml'"]),
    ('config = "configs/dcnv2.yaml"', "", ["[codebase] config", "missing"]),
    ("configs/dcnv2.yaml", "configs/dcnv3.yaml", ["[codebase] config", "dcnv3", "'dcnv2.yaml'"]),
    ('"losses.py"]', '"../losses.py"]', ["[codebase] editable no. 2", "../losses.py"]),
    ('"HF_HOME"', '"HF HOME"', ["[codebase] env no. 1", "HF HOME"]),
    ('"minimize"', '"min"', ["[objective] direction", '"min"', "'minimize'"]),
    ('sealed = "test"', 'sealed = "valid"', ["[objective] sealed"]),
    ("min = 0.95\nmax = 1.05", "", ["[[objective.guardrail]] no. 1", "calibration", "neither min nor max"]),
    ("min = 0.95", "min = 1.95", ["[[objective.guardrail]] no. 1", "above"]),
    ("min = 0.95", "minn = 0.95", ["[[objective.guardrail]] no. 1 minn", "'min'"]),
    ("slots = 4", "solts = 4", ["[launcher]", "'solts'", "'slots'"]),
    ('partition = "short"', "partition = [1]", ["[launcher] partition", "plain value"]),
    ("[resources]", "[resourcs]", ["[resourcs] is not a table", "did you mean [resources]"]),
    ("slots = 4", "slots = ", ["line", "column"]),
]


@pytest.mark.parametrize(
    ("right", "wrong", "said"), MISTAKES, ids=[wrong[:40] or right[:40] for right, wrong, _ in MISTAKES]
)
def test_a_mistake_is_named_with_file_place_and_remedy(root: Path, right: str, wrong: str, said: list[str]) -> None:
    assert right in GOOD
    (root / "rea.toml").write_text(GOOD.replace(right, wrong, 1))
    with pytest.raises(ConfigError) as caught:
        load(root)
    text = str(caught.value)
    assert str(root / "rea.toml") in text
    for part in said:
        assert part in text
    assert caught.value.hint


def test_all_mistakes_are_listed_at_once(root: Path) -> None:
    (root / "rea.toml").write_text(GOOD.replace('"minimize"', '"min"').replace("{config}", ""))
    with pytest.raises(ConfigError, match="2 problems") as caught:
        load(root)
    assert "direction" in str(caught.value)
    assert "train" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_an_unreadable_file_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "rea.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.hint


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_to_the_file_escapes_as_anything_but_a_config_error(root: Path, data: st.DataObject) -> None:
    lines = GOOD.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    value = data.draw(
        st.sampled_from(["-1", '""', "[]", "{}", "true", "nan", "1e400", '"x"', "[[1]]", "{ a = 1 }", "1979-05-27"])
    )
    name, equals, _ = lines[index].partition("=")
    lines[index] = f"{name}= {value}" if equals else ""
    (root / "rea.toml").write_text("\n".join(lines))
    try:
        load(root)
    except ConfigError as error:
        assert error.hint
