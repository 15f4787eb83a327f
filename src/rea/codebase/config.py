"""Reading `rea.toml` into a `Codebase`, with errors that say what to type instead."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rea.codebase.knobs import knob_of
from rea.codebase.problems import Problem, complain, explain, name_of, show
from rea.codebase.units import parse_duration, parse_size
from rea.domain import plainfile
from rea.domain.codebase import (
    Boxing,
    Codebase,
    ConfigStyle,
    Guardrail,
    Knob,
    LauncherChoice,
    Objective,
    Resources,
    Sandbox,
)
from rea.domain.errors import ConfigError, UsageError
from rea.domain.share import Team

if TYPE_CHECKING:
    from rea.codebase.schema import File

FILE_NAME: Final = "rea.toml"
TRAIN_PLACEHOLDERS: Final = ("python", "config", "seed", "run_dir")
PROFILE_PLACEHOLDERS: Final = ("python", "config")
EVALUATE_PLACEHOLDERS: Final = ("python", "config", "seed", "run_dir", "predictions", "split")
FILE_STYLES: Final = (ConfigStyle.YAML, ConfigStyle.TOML, ConfigStyle.JSON)

PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]+)\}")
_SHELL_WORDS: Final = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1"})


def find(start: Path) -> Path:
    """The folder of the nearest `rea.toml` at or above `start`. Raises ConfigError if there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise ConfigError(
        f"no {FILE_NAME} in {start} or above it", hint="go to the codebase's folder, or run `rea init` there"
    )


def load(root: Path, *, config: str | None = None) -> Codebase:
    """The codebase that `<root>/rea.toml` describes.

    `config` replaces `[codebase] config` (a path below `root`), because one repository may hold several models.
    Raises ConfigError naming file, key, what was found and what was expected; all problems found are listed.
    """
    root = root.expanduser().resolve()
    return parse(_read(root / FILE_NAME), root, config=config)


def parse(text: str, root: Path, *, config: str | None = None) -> Codebase:
    """The codebase that the text of a `rea.toml` in `root` describes; see `load`."""
    path = root / FILE_NAME
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}", hint="correct that line; strings need quotes"
        ) from error
    if config is not None and isinstance(raw.get("codebase"), dict):
        raw["codebase"]["config"] = _below(root, config)
    table = _validated(path, raw)
    if config is not None:
        _check_given(root, table, config)
    problems = [*_command_problems(table), *_config_problems(root, table), *_objective_problems(table)]
    knobs: list[Knob] = []
    for name, knob_table in table.knobs.items():
        knob, knob_problems = knob_of(name, knob_table, table.codebase.style)
        problems += knob_problems
        if knob is not None:
            knobs.append(knob)
    complain(path, problems)
    return _codebase(root, table, tuple(knobs))


def digest(codebase: Codebase) -> str:
    """SHA-256 (hexadecimal) over what `rea.toml` means, wherever the codebase lies; for plans."""
    content = dataclasses.asdict(codebase)
    del content["root"]
    for later in ("profile", "smoke", "team", "checkpoints", "data"):
        if not content[later]:
            del content[later]  # what was signed before there was such a key means the same as ever
    if content["resources"]["idle_s"] is None:
        del content["resources"]["idle_s"]
    if codebase.sandbox == Sandbox():
        del content["sandbox"]
    for knob in content["knobs"]:
        if not knob["tuned"]:
            del knob["tuned"]
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return plainfile.text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="run `rea init` to draft one") from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}", hint="check the file's permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})", hint="save the file as UTF-8") from error


def _check_given(root: Path, table: File, config: str) -> None:
    """Refuse a config that was asked for and would be read by nobody, or is not there."""
    codebase = table.codebase
    used = codebase.style == ConfigStyle.HYDRA or codebase.style in FILE_STYLES
    used = used or "{config}" in f"{codebase.train} {codebase.evaluate or ''}"
    if not used:
        hint = f"leave --config out: style {codebase.style!r} reads none, and neither command has {{config}}"
        raise UsageError(f"--config {config}: {codebase.name} has no config file", hint=hint)
    if codebase.style == ConfigStyle.HYDRA:
        from rea.codebase.hydra import compose

        there = compose(codebase.train, codebase.config, root) is not None
    else:
        there = (root / (codebase.config or "")).is_file()
    if not there:
        raise UsageError(f"--config {config}: there is no such file in {root}", hint="give a path below that folder")


def _below(root: Path, config: str) -> str:
    """`config` relative to the codebase's folder, where it is given as an absolute path inside it. Raises UsageError
    where it leads out of that folder."""
    given = Path(config)
    if given.is_absolute() and given.is_relative_to(root):
        return given.relative_to(root).as_posix()
    if given.is_absolute() or ".." in given.parts:
        hint = f"give a path below {root}, and the path of another codebase with -C"
        raise UsageError(f"--config {config} is not in the codebase", hint=hint)
    return config


def _validated(path: Path, raw: Mapping[str, Any]) -> File:
    from pydantic import ValidationError

    from rea.codebase.schema import File, LauncherTable

    try:
        table = File.model_validate(raw)
    except ValidationError as error:
        problems: dict[str, Problem] = {}
        for detail in error.errors(include_url=False):
            problem = explain(detail, raw)
            problems.setdefault(problem.key, problem)
        complain(path, problems.values())
        raise  # unreachable: a ValidationError has at least one detail
    for option in table.launcher.__pydantic_extra__:
        close = difflib.get_close_matches(option, LauncherTable.model_fields, n=1, cutoff=0.75)
        if close:
            complain(path, [Problem("[launcher]", f"unknown key {option!r}", f"did you mean {close[0]!r}?")])
    return table


def _command_problems(table: File) -> list[Problem]:
    codebase = table.codebase
    problems = _template_problems("train", codebase.train, TRAIN_PLACEHOLDERS)
    if codebase.smoke is not None:
        problems += _template_problems("smoke", codebase.smoke, TRAIN_PLACEHOLDERS)
    used = set(PLACEHOLDER.findall(codebase.train))
    if codebase.style in FILE_STYLES and "config" not in used:
        problems.append(
            Problem(
                "[codebase] train",
                f"has no {{config}}, so a changed config cannot reach a trainer of style {codebase.style!r}",
                "put it where the config's path goes, for example --config {config}",
            )
        )
    if codebase.style != ConfigStyle.ENV and "seed" not in used:
        problems.append(
            Problem(
                "[codebase] train",
                "has no {seed}; without it every run would draw the same numbers and noise could not be measured",
                "put it where the seed goes, for example --seed {seed}",
            )
        )
    if codebase.evaluate is not None:
        problems += _template_problems("evaluate", codebase.evaluate, EVALUATE_PLACEHOLDERS)
        asked = set(PLACEHOLDER.findall(codebase.evaluate))
        if not asked & {"run_dir", "predictions"}:
            problems.append(
                Problem(
                    "[codebase] evaluate",
                    "names neither {run_dir} nor {predictions}, so it cannot find what to evaluate",
                    "for example --predictions {predictions}",
                )
            )
        if table.objective.sealed is not None and not asked & {"split", "predictions"}:
            problems.append(
                Problem(
                    "[codebase] evaluate",
                    "has no {split}, so it cannot tell the visible split from the sealed one",
                    "for example --split {split}",
                )
            )
    if codebase.profile is not None:
        problems += _template_problems("profile", codebase.profile, PROFILE_PLACEHOLDERS)
    commands = " ".join(filter(None, (codebase.train, codebase.smoke, codebase.evaluate, codebase.profile)))
    if "config" in set(PLACEHOLDER.findall(commands)) and codebase.config is None:
        problems.append(
            Problem(
                "[codebase] config",
                "is missing, and a command uses {config}",
                'for example config = "configs/base.yaml"',
            )
        )
    return problems


def _template_problems(key: str, template: str, known: tuple[str, ...]) -> list[Problem]:
    name = f"[codebase] {key}"
    try:
        words = shlex.split(template)
    except ValueError as error:
        return [Problem(name, f"cannot be split into words: {str(error).lower()}", "close every quote")]
    problems = []
    if shell := sorted(_SHELL_WORDS.intersection(words)) or sorted(
        word for word in words if "${" in word or "`" in word
    ):
        problems.append(
            Problem(
                name,
                f"uses {shell[0]!r}, but commands do not go through a shell",
                "put the pipeline into a script and call that",
            )
        )
    for placeholder in PLACEHOLDER.findall(template):
        if placeholder not in known and f"${{{placeholder}}}" not in template:
            close = difflib.get_close_matches(placeholder, known, n=1)
            hint = f"did you mean {{{close[0]}}}?" if close else None
            listed = ", ".join(f"{{{one}}}" for one in known)
            problems.append(Problem(name, f"has the unknown placeholder {{{placeholder}}}; known here: {listed}", hint))
    return problems


def _config_problems(root: Path, table: File) -> list[Problem]:
    codebase = table.codebase
    name = "[codebase] config"
    if codebase.style not in list(ConfigStyle):
        close = difflib.get_close_matches(codebase.style.lower(), [style.value for style in ConfigStyle], n=1)
        hint = f"did you mean {close[0]!r}?" if close else None
        styles = ", ".join(ConfigStyle)
        return [Problem("[codebase] style", f"found {show(codebase.style)}, expected one of {styles}", hint)]
    if codebase.style not in FILE_STYLES:
        return []
    if codebase.config is None:
        return [
            Problem(name, f"is missing; style {codebase.style!r} needs it", 'for example config = "configs/base.yaml"')
        ]
    if not (root / codebase.config).is_file():
        folder = (root / codebase.config).parent
        there = sorted(one.name for one in folder.iterdir() if one.is_file()) if folder.is_dir() else []
        close = difflib.get_close_matches(Path(codebase.config).name, there, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"paths are taken from {root}"
        return [Problem(name, f"names {show(codebase.config)}, which is no file in {root}", hint)]
    return []


def _objective_problems(table: File) -> list[Problem]:
    objective = table.objective
    problems = []
    if objective.direction not in ("minimize", "maximize"):
        near = {"mi": "minimize", "lo": "minimize", "ma": "maximize", "hi": "maximize"}.get(
            objective.direction[:2].lower()
        )
        problems.append(
            Problem(
                "[objective] direction",
                f'found {show(objective.direction)}, expected "minimize" or "maximize"',
                f"did you mean {near!r}?" if near else None,
            )
        )
    if table.sandbox.use not in list(Boxing):
        problems.append(
            Problem("[sandbox] use", f"found {show(table.sandbox.use)}, expected one of {', '.join(Boxing)}")
        )
    if objective.sealed is not None and objective.sealed == objective.split:
        problems.append(
            Problem(
                "[objective] sealed",
                f"is {show(objective.sealed)}, the same as split; a split REA looks at cannot be sealed",
                "name a second held-out split, or leave sealed out",
            )
        )
    for index, guardrail in enumerate(objective.guardrail):
        name = name_of(("objective", "guardrail", index))
        if guardrail.min is None and guardrail.max is None:
            problems.append(Problem(name, f"({guardrail.metric}) has neither min nor max", "give one or both"))
        elif guardrail.min is not None and guardrail.max is not None and guardrail.min > guardrail.max:
            problems.append(
                Problem(name, f"({guardrail.metric}) has min {guardrail.min} above max {guardrail.max}", "swap them")
            )
    return problems


def _team(table: File) -> Team | None:
    if table.team is None:
        return None
    day, month = (None if text is None else parse_duration(text) for text in (table.team.per_day, table.team.per_month))
    return Team(table.team.name, day, month)


def _codebase(root: Path, table: File, knobs: tuple[Knob, ...]) -> Codebase:
    objective, resources, launcher = table.objective, table.resources, table.launcher
    return Codebase(
        name=table.codebase.name,
        root=str(root),
        python=table.codebase.python,
        train=table.codebase.train,
        evaluate=table.codebase.evaluate,
        config=table.codebase.config,
        style=ConfigStyle(table.codebase.style),
        editable=tuple(table.codebase.editable),
        protected=tuple(table.codebase.protected),
        env=tuple(dict.fromkeys(table.codebase.env)),
        objective=Objective(
            metric=objective.metric,
            direction=objective.direction,
            split=objective.split,
            sealed=objective.sealed,
            minimum_gain=objective.minimum_gain,
            guardrails=tuple(Guardrail(one.metric, one.min, one.max) for one in objective.guardrail),
        ),
        resources=Resources(
            cpus=resources.cpus,
            gpus=resources.gpus,
            memory_bytes=None if resources.memory is None else parse_size(resources.memory),
            walltime_s=parse_duration(resources.walltime),
            idle_s=None if resources.idle is None else parse_duration(resources.idle),
        ),
        launcher=LauncherChoice(launcher.kind, launcher.slots, dict(launcher.__pydantic_extra__)),
        knobs=knobs,
        profile=table.codebase.profile,
        smoke=table.codebase.smoke,
        checkpoints=table.codebase.checkpoints,
        data=tuple(table.codebase.data),
        sandbox=Sandbox(
            Boxing(table.sandbox.use), tuple(table.sandbox.hidden), tuple(table.sandbox.writable), table.sandbox.network
        ),
        team=_team(table),
    )
