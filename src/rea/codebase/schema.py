"""The tables of `rea.toml`, and the data profile that a codebase prints, as Pydantic models.

A field's description is what an error says was expected there. Cross-field rules live in `config.py`.
Import this module late: Pydantic costs start-up time.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from rea.codebase.units import parse_duration, parse_size
from rea.domain.names import RULE, as_name, is_name

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("a text that is not empty")
    return value


def _called(value: str) -> str:
    if not is_name(value):
        raise ValueError(f'{RULE}, such as "{as_name(value) or "ads-ranker"}"')
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError("the name of an environment variable, such as CUDA_VISIBLE_DEVICES")
    return value


def _inside(value: str) -> str:
    """A path or pattern below the codebase's folder."""
    if not value.strip() or value.startswith(("/", "~")) or ".." in value.replace("\\", "/").split("/"):
        raise ValueError("a path or pattern below the folder of rea.toml, without .. and not absolute")
    return value


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, AfterValidator(_called)]
Inside = Annotated[str, AfterValidator(_inside)]
Variable = Annotated[str, AfterValidator(_variable)]
Flat = bool | int | FiniteFloat | str


class Table(BaseModel):
    """A table that knows no other keys than its own and converts nothing silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CodebaseTable(Table):
    name: Name = Field(description='the name people know this model by, such as "ads-ranker"')
    python: Text = Field("python3", description='the Python of the training environment, such as ".venv/bin/python"')
    train: Text = Field(description='the training command, such as "{python} train.py --config {config} --seed {seed}"')
    evaluate: Text | None = Field(
        None, description='the evaluation command, such as "{python} evaluate.py --run {run_dir} --split {split}"'
    )
    smoke: Text | None = Field(
        None, description='the train command over a few batches, such as "{python} train.py … --batches 2"'
    )
    profile: Text | None = Field(
        None, description='a command that describes the data, such as "{python} profile_data.py --config {config}"'
    )
    config: Inside | None = Field(None, description='the trainer\'s config, such as "configs/dcnv2.yaml"')
    style: str = Field(description="one of yaml, toml, json, hydra, argparse, env")
    editable: list[Inside] = Field([], description='a list of patterns, such as ["models/**", "losses.py"]')
    protected: list[Inside] = Field([], description='a list of patterns, such as ["evaluate.py", "data/**"]')
    checkpoints: Inside | None = Field(
        None, description='a pattern of checkpoints in a run\'s directory, such as "checkpoint-*.pt"'
    )
    data: list[Text] = Field([], description='a list of patterns of data files, such as ["data/*.parquet"]')
    env: list[Variable] = Field([], description='a list of environment variables a job may see, such as ["HF_HOME"]')


class SandboxTable(Table):
    use: str = Field("auto", description="one of auto, always, never")
    hidden: list[Text] = Field([], description='a list of files no trainer may see, such as ["data/test_labels.npy"]')
    writable: list[Text] = Field([], description='a list of folders a trainer may write to, such as ["~/.cache/torch"]')
    network: bool = Field(False, description="true or false")


class GuardrailTable(Table):
    metric: Text = Field(description='the name of a metric the trainer reports, such as "calibration"')
    min: FiniteFloat | None = Field(None, description="a number")
    max: FiniteFloat | None = Field(None, description="a number")


class ObjectiveTable(Table):
    metric: Text = Field(description='the name of the metric to improve, such as "ne"')
    direction: str = Field(description='"minimize" or "maximize"')
    split: Text = Field(description='the split REA may look at, such as "valid"')
    sealed: Text | None = Field(None, description='the split looked at once, for the proposal, such as "test"')
    minimum_gain: FiniteFloat = Field(0.0, description="a relative gain from 0 up to 1, such as 0.0005", ge=0, lt=1)
    guardrail: list[GuardrailTable] = Field([], description="one or more [[objective.guardrail]] tables")


class ResourcesTable(Table):
    cpus: int = Field(1, description="a whole number of cores, at least 1", ge=1)
    gpus: int = Field(0, description="a whole number of GPUs, 0 or more", ge=0)
    memory: str | None = Field(None, description='a size with its unit, such as "2GiB"')
    walltime: str = Field(description='the longest one run may take, with its unit, such as "10m" or "1h30m"')
    idle: str | None = Field(
        None, description='how long a run may neither use a core nor write a word, with its unit, such as "20m"'
    )

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value

    @field_validator("walltime", "idle")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value)
        return value


class LauncherTable(Table):
    """Keys beside `kind` and `slots` are the launcher's own options."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Flat]

    kind: Text = Field("local", description='the kind of launcher: "local"')
    slots: int = Field(1, description="how many runs may go at once, at least 1", ge=1)


class TeamTable(Table):
    name: Name = Field(description='the team whose codebases share device time, such as "ads-ranking"')
    per_day: str | None = Field(None, description='device time of one day (UTC), such as "40h"')
    per_month: str | None = Field(None, description='device time of one calendar month (UTC), such as "800h"')

    @field_validator("per_day", "per_month")
    @classmethod
    def _amount(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value)
        return value


def _local() -> LauncherTable:
    return LauncherTable.model_validate({})


def _open() -> SandboxTable:
    return SandboxTable.model_validate({})


class KnobTable(Table):
    role: Text | None = Field(None, description='the role of the knob, such as "learning_rate"')
    type: str | None = Field(None, description="one of float, int, bool, str")
    range: list[int | FiniteFloat] | None = Field(None, description="two numbers, low then high, such as [1e-4, 1e-1]")
    log: bool = Field(False, description="true or false")
    choices: list[Flat] | None = Field(
        None,
        min_length=1,
        description='a list of plain values, such as ["relu", "gelu"]; write a list of sizes as "128,64"',
    )
    default: Flat | None = Field(None, description="a plain value")
    tuned: bool = Field(False, description="true where a tuner has searched the knob already, else false")


class File(Table):
    codebase: CodebaseTable = Field(description="the table [codebase]")
    objective: ObjectiveTable = Field(description="the table [objective]")
    resources: ResourcesTable = Field(description="the table [resources]")
    launcher: LauncherTable = Field(default_factory=_local, description="the table [launcher]")
    sandbox: SandboxTable = Field(default_factory=_open, description="the table [sandbox]")
    team: TeamTable | None = Field(None, description="the table [team]")
    knobs: dict[str, KnobTable] = Field({}, description='the table [knobs], one line "name" = { … } each')


Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class _Answer(BaseModel):
    """Part of what a `profile` command prints: known keys are checked, others are the codebase's own."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class DataFieldTable(_Answer):
    name: Text
    kind: Literal["categorical", "numeric"]
    cardinality: Annotated[int, Field(ge=0)] | None = None
    coverage: Share | None = None
    rare_rows: Share | None = None
    rare_ids: Share | None = None
    unseen_rows: Share | None = None
    drift: Share | None = None
    information: Share | None = None


class FieldPairTable(_Answer):
    fields: Annotated[list[Text], Field(min_length=2, max_length=2)]
    information: FiniteFloat


class DataTable(_Answer):
    """The one JSON object that a `profile` command prints."""

    rows: dict[Text, Annotated[int, Field(ge=0)]]
    positive_rate: Share | None = None
    seen_rows: Share | None = None
    fields: Annotated[list[DataFieldTable], Field(min_length=1, max_length=5000)]
    pairs: Annotated[list[FieldPairTable], Field(max_length=100)] | None = None


def expected_at(location: tuple[Any, ...]) -> str | None:
    """What the description of the field at this location says; None where there is no such field."""
    model: Any = File
    text: str | None = None
    for part in location:
        fields = getattr(model, "model_fields", None)
        if fields is None or not isinstance(part, str):
            continue
        if part not in fields:
            return "a plain value: text, number, true or false" if model is LauncherTable else text
        text = fields[part].description
        model = {
            "codebase": CodebaseTable,
            "objective": ObjectiveTable,
            "resources": ResourcesTable,
            "launcher": LauncherTable,
            "guardrail": GuardrailTable,
            "sandbox": SandboxTable,
        }.get(part)
        if part == "knobs":
            return KnobTable.model_fields[location[2]].description if _names_knob_field(location) else text
    return text


def _names_knob_field(location: tuple[Any, ...]) -> bool:
    return len(location) > 2 and location[2] in KnobTable.model_fields


def known_keys(location: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys the table holding this location knows."""
    tables: dict[tuple[Any, ...], type[Table]] = {
        (): File,
        ("codebase",): CodebaseTable,
        ("objective",): ObjectiveTable,
        ("resources",): ResourcesTable,
        ("launcher",): LauncherTable,
        ("sandbox",): SandboxTable,
    }
    parent = tuple(location[:-1])
    if parent[:1] == ("knobs",):
        return tuple(KnobTable.model_fields)
    if parent[:2] == ("objective", "guardrail"):
        return tuple(GuardrailTable.model_fields)
    table = tables.get(parent)
    return tuple(table.model_fields) if table else ()
