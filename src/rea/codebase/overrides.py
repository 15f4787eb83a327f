"""How a treatment reaches the trainer, per config style; and what the baseline says for each knob.

    yaml, toml, json   a copy of the config with the values changed, written to the run's directory for {config}
    hydra              `a.b=value` words after the train command; a config group is chosen the same way
    argparse           `--flag=value` words after the train command, so that the last one counts. A switch is written as
                       its declaration wants it: `--flag` or nothing (store_true), nothing or `--flag` (store_false),
                       `--flag`/`--no-flag` (BooleanOptionalAction, and switches whose declaration cannot be read)
    env                environment variables; booleans are "true" and "false", null unsets the variable

In file and Hydra configs a list is set by the text of its items: "128,64" where the config has [256, 128].
Commands are split into words once and never go through a shell; placeholders are filled in word by word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rea.codebase import edits, hydra, trainer
from rea.codebase.config import FILE_STYLES, PLACEHOLDER
from rea.codebase.trees import as_knob, from_config, locate, to_config, value_at
from rea.domain.codebase import Codebase, ConfigStyle, Knob, KnobType, Scalar
from rea.domain.errors import ConfigError, GuardrailError
from rea.domain.treatment import Treatment

METRICS_FILE: Final = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute: words, the whole environment, and the folder to start in. Nothing is for a shell."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


def prepare(
    codebase: Codebase,
    treatment: Treatment,
    *,
    worktree: Path,
    run_dir: Path,
    seed: int,
    env: Mapping[str, str],
    smoke: bool = False,
) -> Command:
    """The train command of one run. Writes the run's config into `run_dir` (made if missing) for file styles.

    `worktree` is the codebase's folder inside the git worktree; a patch of the treatment is applied there already.
    `smoke`: the command that trains on a few batches only, where the codebase has one.
    `env` is what the job may see of the engineer's environment; REA_RUN_DIR, REA_METRICS and REA_SEED are added.
    A relative {python} with a slash is the engineer's (taken from `codebase.root`); a bare name is found on PATH
    where the job runs. Raises GuardrailError for a knob or value rea.toml does not allow, ConfigError where the
    trainer would not see the value.
    """
    overrides = checked(codebase, treatment)
    run_dir.mkdir(parents=True, exist_ok=True)
    config = codebase.config
    if codebase.style in FILE_STYLES:
        config = str(_write_config(codebase, overrides, worktree, run_dir))
    words = _fill(
        codebase,
        (codebase.smoke if smoke else None) or codebase.train,
        worktree,
        {"config": config, "seed": str(seed), "run_dir": str(run_dir), "python": python_of(codebase)},
    )
    environment = {
        **env,
        "REA_RUN_DIR": str(run_dir),
        "REA_METRICS": str(run_dir / METRICS_FILE),
        "REA_SEED": str(seed),
    }
    if codebase.style is ConfigStyle.HYDRA:
        words = _with_hydra(codebase, overrides, worktree, run_dir, words)
    elif codebase.style is ConfigStyle.ARGPARSE:
        words = _with_flags(codebase, overrides, worktree, words)
    elif codebase.style is ConfigStyle.ENV:
        environment = variables(overrides, environment)
    return Command(tuple(words), environment, worktree)


def evaluate_command(
    codebase: Codebase,
    worktree: Path,
    run_dir: Path,
    split: str,
    seed: int,
    *,
    env: Mapping[str, str] | None = None,
) -> Command | None:
    """The evaluation command for one split of a run; None if rea.toml has none.

    `worktree` must be at the pinned commit without any patch, and {config} is the baseline's own, so that no treatment
    can move the goalposts. {predictions} is `<run_dir>/predictions_<split>.npy`. REA_METRICS names a file of the
    evaluator's own, `evaluation_<split>.jsonl`.
    """
    if codebase.evaluate is None:
        return None
    words = _fill(
        codebase,
        codebase.evaluate,
        worktree,
        {
            "config": codebase.config,
            "seed": str(seed),
            "run_dir": str(run_dir),
            "python": python_of(codebase),
            "split": split,
            "predictions": str(run_dir / f"predictions_{split}.npy"),
        },
    )
    own = {
        "REA_RUN_DIR": str(run_dir),
        "REA_METRICS": str(run_dir / f"evaluation_{split}.jsonl"),
        "REA_SEED": str(seed),
        "REA_SPLIT": split,
    }
    return Command(tuple(words), {**(env or {}), **own}, worktree)


def profile_command(codebase: Codebase, worktree: Path, *, env: Mapping[str, str]) -> Command | None:
    """The command that describes the data, in a worktree at the pinned commit; None if rea.toml has none."""
    if codebase.profile is None:
        return None
    values = {"config": codebase.config, "python": python_of(codebase)}
    return Command(tuple(_fill(codebase, codebase.profile, worktree, values)), dict(env), worktree)


def baseline_values(codebase: Codebase, worktree: Path) -> dict[str, Scalar]:
    """What the baseline says for each knob, by knob name. A knob nothing is known of is left out.

    File and Hydra styles read the config; argparse and env read the script's declared defaults. `default` in rea.toml
    stands in where those are silent. Raises ConfigError where a file config lacks a knob.
    """
    known: dict[str, Scalar] = {}
    if codebase.style in FILE_STYLES:
        text, where = _config_text(codebase, worktree)
        tree = edits.parse(text, codebase.style, where=where)
        for knob in codebase.knobs:
            known[knob.name] = from_config(value_at(tree, edits.find(tree, knob.name, where=where)))
    elif codebase.style is ConfigStyle.HYDRA:
        known = _hydra_values(codebase, worktree)
    else:
        known = _declared(codebase, worktree)
    values: dict[str, Scalar] = {}
    for knob in codebase.knobs:
        if knob.name in known:
            values[knob.name] = as_knob(knob, known[knob.name])
        elif knob.default is not None:
            values[knob.name] = knob.default
    return values


def checked(codebase: Codebase, treatment: Treatment) -> dict[str, Scalar]:
    """The treatment's overrides in their knobs' own types. Raises GuardrailError for what rea.toml does not allow."""
    overrides: dict[str, Scalar] = {}
    for name, raw in treatment.overrides.items():
        knob = codebase.knob(name)
        if knob is None:
            raise GuardrailError(
                f"{name!r} is no knob of {codebase.name}",
                hint="add it to [knobs] in rea.toml, with its range or choices",
            )
        value = as_knob(knob, raw)
        if not knob.allows(value):
            raise GuardrailError(
                f"{name} = {raw!r} is outside what rea.toml allows: {allowed(knob)}", hint="choose a value inside"
            )
        overrides[name] = value
    return overrides


def allowed(knob: Knob) -> str:
    """What a treatment may set the knob to, in words."""
    if knob.choices:
        return "one of " + ", ".join(repr(choice) for choice in knob.choices)
    if knob.numeric:
        return f"{knob.type.value} from {knob.low:g} to {knob.high:g}" if knob.low is not None else knob.type.value
    return {KnobType.BOOL: "true or false"}.get(knob.type, "a text")


def config_file(codebase: Codebase, worktree: Path) -> Path:
    """The trainer's config in a worktree. Raises ConfigError where there is none."""
    path = worktree / (codebase.config or "")
    if codebase.config is None or not path.is_file():
        raise ConfigError(
            f"{codebase.config or 'the config'} is not in {worktree}",
            hint="commit it: runs start from the commit, not the checkout",
        )
    return path


def _config_text(codebase: Codebase, worktree: Path) -> tuple[str, str]:
    path = config_file(codebase, worktree)
    try:
        # newline="" keeps the file's own line ends.
        with path.open(encoding="utf-8", newline="") as file:
            return file.read(), codebase.config or path.name
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="save it as UTF-8 text") from error


def _write_config(codebase: Codebase, overrides: Mapping[str, Scalar], worktree: Path, run_dir: Path) -> Path:
    text, where = _config_text(codebase, worktree)
    new = edits.apply(text, codebase.style, overrides, where=where)
    path = run_dir / f"config{Path(where).suffix or '.' + codebase.style.value}"
    data = new.encode()
    # A job that is submitted again may be running: what it reads must not be empty for an instant.
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
    return path


def python_of(codebase: Codebase) -> str:
    """The program {python} stands for."""
    given = Path(codebase.python).expanduser()
    if given.is_absolute() or "/" not in codebase.python:
        return str(given)
    # Not resolved: a virtual environment's python is a link and knows its environment by its own path.
    return str(Path(codebase.root) / given)


def _fill(codebase: Codebase, template: str, worktree: Path, values: Mapping[str, str | None]) -> list[str]:
    def put(found: re.Match[str]) -> str:
        value = values.get(found.group(1))
        if value is None:
            raise ConfigError(f"{found.group(0)} in {template!r} has no value", hint="see [codebase] in rea.toml")
        return value

    words = [PLACEHOLDER.sub(put, word) for word in shlex.split(template)]
    program = words[0]
    in_checkout = Path(codebase.root) / program
    if "/" in program and not (worktree / program).exists() and in_checkout.exists():
        # Tools of the engineer's environment, such as .venv/bin/torchrun, are in the checkout, not in a worktree.
        words[0] = str(in_checkout)
    return words


def _with_hydra(
    codebase: Codebase, overrides: Mapping[str, Scalar], worktree: Path, run_dir: Path, words: list[str]
) -> list[str]:
    composition = hydra.compose(codebase.train, codebase.config, worktree)
    for name, value in overrides.items():
        # The same key twice is an error for config groups, so the command's own choice gives way.
        words = [word for word in words if not re.fullmatch(rf"\+{{0,2}}{re.escape(name)}=.*", word, re.DOTALL)]
        path = locate(composition.values, name) if composition else None
        present = value_at(composition.values, path) if composition and path is not None else None
        words.append(hydra.override_word(name, to_config(value, present), composition))
    if not any(word.startswith("hydra.run.dir=") for word in words):
        words.append(f"hydra.run.dir={hydra.quoted(str(run_dir / 'hydra'))}")
    return words


def _hydra_values(codebase: Codebase, worktree: Path) -> dict[str, Scalar]:
    composition = hydra.compose(codebase.train, codebase.config, worktree)
    known: dict[str, Scalar] = {}
    if composition is None:
        return known
    for knob in codebase.knobs:
        group = composition.groups.get(knob.name.replace(".", "/"))
        path = locate(composition.values, knob.name)
        if group is not None and any(composition.is_group(knob.name, choice) for choice in knob.choices):
            known[knob.name] = group[0]
        elif path is not None and not isinstance(value_at(composition.values, path), Mapping):
            known[knob.name] = from_config(value_at(composition.values, path))
    return known


def _arguments(codebase: Codebase, worktree: Path) -> tuple[trainer.Argument, ...]:
    script = trainer.script_of(codebase.train, worktree)
    return trainer.arguments(script, worktree) if script else ()


def argument_of(name: str, known: tuple[trainer.Argument, ...]) -> trainer.Argument | None:
    """The declared argument a knob's name means: by its flag, else by its dest."""
    bare = name.lstrip("-")
    for argument in known:
        if name in argument.flags or f"--{bare}" in argument.flags:
            return argument
    return next((argument for argument in known if argument.dest == bare.replace("-", "_")), None)


def flags(codebase: Codebase, overrides: Mapping[str, Scalar], worktree: Path) -> tuple[str, ...]:
    """The words that set these values on the command line of an argparse trainer."""
    return tuple(_with_flags(codebase, overrides, worktree, []))


def with_flags(codebase: Codebase, overrides: Mapping[str, Scalar], worktree: Path) -> str:
    """The train command of an argparse trainer with these values set on it; its placeholders stay."""
    words = _with_flags(codebase, overrides, worktree, shlex.split(codebase.train))
    return " ".join(_quoted(word) for word in words)


def training(codebase: Codebase, folder: Path, run_dir: Path, seed: int, env: Mapping[str, str]) -> str:
    """A line for a shell in `folder` that trains what the codebase's own files say, as a run would; all words quoted.

    `env` are variables to set beside those that every run sees.
    """
    values = {"config": codebase.config, "seed": str(seed), "run_dir": str(run_dir), "python": python_of(codebase)}
    words = _fill(codebase, codebase.train, folder, values)
    if codebase.style is ConfigStyle.HYDRA:
        words = _with_hydra(codebase, {}, folder, run_dir, words)
    own = {"REA_RUN_DIR": str(run_dir), "REA_METRICS": str(run_dir / METRICS_FILE), "REA_SEED": str(seed)}
    settings = [f"{name}={shlex.quote(value)}" for name, value in {**env, **own}.items()]
    return f"mkdir -p {shlex.quote(str(run_dir))} && {' '.join(settings)} {shlex.join(words)}"


def _quoted(word: str) -> str:
    """The word as a train command holds it: a placeholder needs no quotes."""
    return word if re.fullmatch(r"[\w@%+=:,./{}-]+", word, re.ASCII) else shlex.quote(word)


def _with_flags(codebase: Codebase, overrides: Mapping[str, Scalar], worktree: Path, words: list[str]) -> list[str]:
    known = _arguments(codebase, worktree)
    for name, value in overrides.items():
        argument = argument_of(name, known)
        flag = argument.flag if argument else name if name.startswith("-") else f"--{name}"
        if argument is None:
            longer = [one.flag for one in known if one.flag.startswith(flag)]
            if longer:
                raise ConfigError(
                    f"the trainer has no {flag}; argparse would take it as {longer[0]}",
                    hint="correct the knob's name in rea.toml",
                )
        if value is None:
            raise ConfigError(
                f"{flag} cannot be set to nothing on a command line", hint="drop null from the knob's choices"
            )
        if isinstance(value, bool):
            words = _switch(words, flag, value, argument)
        elif argument is not None and argument.many:
            words = [*words, flag, *str(value).strip("[] ").replace(",", " ").split()]
        elif flag.startswith("--"):
            # One word: argparse takes a separate -1e-07 for a flag.
            words = [*words, f"{flag}={_text(value)}"]
        else:
            words = [*words, f"{flag}{_text(value)}"]
    return words


def _switch(words: list[str], flag: str, value: bool, argument: trainer.Argument | None) -> list[str]:
    action = argument.action if argument else "BooleanOptionalAction"
    if action in ("store_true", "store_false"):
        words = [word for word in words if argument is None or word not in argument.flags]
        return [*words, flag] if value is (action == "store_true") else words
    if action == "BooleanOptionalAction":
        return [*words, flag if value else f"--no-{flag.removeprefix('--')}"]
    return [*words, f"{flag}={_text(value)}"]


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def variables(overrides: Mapping[str, Scalar], base: Mapping[str, str]) -> dict[str, str]:
    """Environment `base` with the overrides of an env-style trainer. Raises ConfigError for a name of REA's own."""
    changed = dict(base)
    for name, value in overrides.items():
        if name.startswith("REA_"):
            raise ConfigError(f"{name} is set by REA itself", hint="rename the variable in the trainer and in rea.toml")
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = _text(value)
    return changed


def _declared(codebase: Codebase, worktree: Path) -> dict[str, Scalar]:
    """Defaults that the script declares; the train command's own flags win, because the baseline runs with them."""
    known: dict[str, Scalar] = {}
    script = trainer.script_of(codebase.train, worktree)
    if script is None:
        return known
    if codebase.style is ConfigStyle.ENV:
        found = trainer.variables(script, worktree)
        return {name: value for name, value in found.items() if value is not None}
    declared = trainer.arguments(script, worktree)
    words = shlex.split(codebase.train)
    for knob in codebase.knobs:
        argument = argument_of(knob.name, declared)
        if argument is None:
            continue
        if argument.default is not None:
            known[knob.name] = argument.default
        for index, word in enumerate(words):
            flag, equals, text = word.partition("=")
            if flag in argument.flags:
                if argument.type is KnobType.BOOL:
                    known[knob.name] = argument.action != "store_false"
                elif equals or index + 1 < len(words):
                    known[knob.name] = text if equals else words[index + 1]
            elif flag == f"--no-{argument.flag.removeprefix('--')}":
                known[knob.name] = False
    return known
