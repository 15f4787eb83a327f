"""A first `rea.toml`, drafted by reading the repository. Nothing of it is run.

What could not be told from the files is said twice: in comments where a person must decide, and in the notes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rea.codebase import config, edits, hydra, trainer
from rea.codebase.git import NOT_LINKED
from rea.codebase.trees import dotted, from_config, leaves, number
from rea.domain.codebase import ConfigStyle, KnobType, Scalar
from rea.domain.errors import ConfigError, UsageError
from rea.domain.names import as_name
from rea.domain.paths import matches
from rea.knowledge.roles import Role, guess, load_roles

_MOST_FILES: Final = 5_000
_MOST_BYTES: Final = 200_000  # a longer "config" is data
_MOST_NAMED: Final = 5
_MOST_LINES: Final = 40  # knobs drafted; more would bury the ones that matter

_SUFFIXES: Final = {
    ".yaml": ConfigStyle.YAML,
    ".yml": ConfigStyle.YAML,
    ".toml": ConfigStyle.TOML,
    ".json": ConfigStyle.JSON,
}
_CONFIG_FLAGS: Final = ("config", "cfg", "config_file", "config_path", "conf", "params", "hparams", "config_yaml")
_SEED_FLAGS: Final = ("seed", "random_seed", "rng_seed", "random_state", "manual_seed")
_NOT_CONFIGS: Final = (
    "pyproject.toml",
    "rea.toml",
    "package.json",
    "poetry.lock",
    "mkdocs.yml",
    "docker-compose*",
    "tsconfig.json",
)
_PYTHONS: Final = (".venv/bin/python", "venv/bin/python", "env/bin/python")
_EDITABLE: Final = ("models", "model", "layers", "modules", "nets", "losses.py", "loss.py", "model.py", "models.py")
# Metric names as trainers spell them, the most telling first.
_METRICS: Final = {
    "ne": "minimize",
    "normalized_entropy": "minimize",
    "normalised_entropy": "minimize",
    "logloss": "minimize",
    "log_loss": "minimize",
    "bce": "minimize",
    "gauc": "maximize",
    "auc": "maximize",
    "roc_auc": "maximize",
    "ndcg": "maximize",
    "mrr": "maximize",
    "loss": "minimize",
    "rmse": "minimize",
    "mse": "minimize",
    "accuracy": "maximize",
}
_SPLITS: Final = ("valid", "val", "validation", "dev", "eval")


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a `rea.toml` that loads, and what a person must still decide."""

    text: str
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Findings:
    """What was read from the repository so far."""

    root: Path
    script: Path | None = None
    style: ConfigStyle = ConfigStyle.ARGPARSE
    config: str | None = None
    python: str = "python3"
    train: str = ""
    evaluate: str | None = None
    protected: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    arguments: tuple[trainer.Argument, ...] = ()
    words: frozenset[str] = frozenset()

    def at(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def write(root: Path) -> Draft:
    """Write the draft to `<root>/rea.toml`. Raises UsageError if there is one already."""
    path = root / config.FILE_NAME
    made = None if path.exists() else draft(root)
    try:
        if made is None:
            raise FileExistsError
        with path.open("x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError:
        raise UsageError(f"{path} exists and is left as it is", hint="edit it, or move it away first") from None
    return made


def draft(root: Path) -> Draft:
    """Draft a `rea.toml` for the repository at `root`; the text loads without error."""
    root = root.expanduser().resolve()
    found = _Findings(root)
    files = list(_files(found))
    _find_python(found)
    _find_script(found, files)
    _find_style(found, files)
    _find_evaluator(found, files)
    knobs, asides = _knobs(found)
    text = _render(found, knobs, asides, files)
    config.parse(text, root)
    return Draft(text, tuple(found.notes))


def _files(found: _Findings) -> Iterator[Path]:
    """Files of the repository, shallow ones first, without environments, caches and hidden folders.

    Folders that cannot be read are left out, with a note.
    """
    folders, count, closed = [found.root], 0, []
    while folders:
        folder = folders.pop(0)
        try:
            if folder != found.root and (folder / "pyvenv.cfg").exists():
                continue
            entries = [(entry, entry.is_dir()) for entry in sorted(folder.iterdir()) if _counts(found, entry)]
        except OSError:
            closed.append(found.at(folder))
            continue
        for entry, is_folder in entries:
            if is_folder:
                folders.append(entry)
                continue
            count += 1
            if count > _MOST_FILES:
                folders = []
                break
            yield entry
    if closed:
        more = f" and {len(closed) - _MOST_NAMED} more" if len(closed) > _MOST_NAMED else ""
        found.notes.append(f"not looked at, because this user cannot read it: {', '.join(closed[:_MOST_NAMED])}{more}")


def _counts(found: _Findings, entry: Path) -> bool:
    return not (entry.name.startswith(".") or matches(found.at(entry), NOT_LINKED) or entry.is_symlink())


def _find_python(found: _Findings) -> None:
    for name in _PYTHONS:
        if os.access(found.root / name, os.F_OK):
            found.python = name
            return
    found.notes.append("no virtual environment was found; set [codebase] python to the Python that can train")


def _find_script(found: _Findings, files: list[Path]) -> None:
    scored = []
    for path in files:
        if path.suffix != ".py":
            continue
        name = path.stem.lower()
        score = {"train": 12, "main": 6, "trainer": 5}.get(name, 0)
        score += 5 * ("train" in name and not score) + 3 * name.startswith("run")
        if not score or "test" in name:
            continue
        score += 3 * bool(trainer.hydra_main(path)) + 2 * ("__main__" in trainer.strings(path, path.parent))
        scored.append((-score, len(path.relative_to(found.root).parts), path))
    if not scored:
        found.notes.append("no training script was found; correct [codebase] train")
        return
    found.script = min(scored)[2]
    others = [found.at(path) for _, _, path in sorted(scored)[1:4]]
    if others:
        found.notes.append(f"{found.at(found.script)} is taken as the training script; others: {', '.join(others)}")
    found.arguments = trainer.arguments(found.script, found.root)
    found.words = trainer.strings(found.script, found.root)


def _find_style(found: _Findings, files: list[Path]) -> None:
    script = found.at(found.script) if found.script else "train.py"
    main = trainer.hydra_main(found.script) if found.script else None
    if main is not None:
        found.style = ConfigStyle.HYDRA
        found.train = f"{{python}} {script}"
        composition = hydra.compose(found.train, None, found.root)
        if composition is None:
            found.notes.append("the primary Hydra config was not found; name it in [codebase] config")
        seed = (
            next((dotted(path) for path, _ in leaves(composition.values) if path and path[-1] in _SEED_FLAGS), None)
            if composition
            else None
        )
        if seed is None:
            found.notes.append(
                "no seed was found in the Hydra config; +seed={seed} adds one, which the trainer must use"
            )
        found.train += f" {seed or '+seed'}={{seed}}"
        return
    flag = next((one for one in found.arguments if one.dest.lower() in _CONFIG_FLAGS), None)
    configs = _configs(found, files, flag)
    if flag is not None and configs:
        found.config = configs[0]
        found.style = _SUFFIXES[Path(configs[0]).suffix]
        found.train = f"{{python}} {script} {flag.flag} {{config}}"
        if len(configs) > 1:
            found.notes.append(f"{configs[0]} is taken as the baseline's config; others: {', '.join(configs[1:4])}")
    else:
        read = trainer.variables(found.script, found.root) if found.script else {}
        of_use = [name for name in read if not name.startswith("REA_") and guess(name)]
        if of_use and not found.arguments:
            found.style = ConfigStyle.ENV
        elif configs and not found.arguments:
            found.notes.append(f"{configs[0]} looks like a config, but no flag passes one; style may have to be yaml")
        found.train = f"{{python}} {script}"
    seed_flag = next((one for one in found.arguments if one.dest.lower() in _SEED_FLAGS), None)
    if seed_flag is not None:
        found.train += f" {seed_flag.flag} {{seed}}"
    elif found.style is not ConfigStyle.ENV:
        found.train += " --seed {seed}"
        found.notes.append(f"{script} declares no seed flag; --seed is drafted, and the trainer must take it")
    elif not {"REA_SEED"} & found.words:
        found.notes.append(f"{script} does not read REA_SEED; every run needs its own seed")


def _configs(found: _Findings, files: list[Path], flag: trainer.Argument | None) -> list[str]:
    """Files that look like trainer configs, the most likely first."""
    scored = []
    for path in files:
        name = found.at(path)
        if path.suffix not in _SUFFIXES or matches(path.name, _NOT_CONFIGS) or path.stat().st_size > _MOST_BYTES:
            continue
        tree = _tree(path)
        if not isinstance(tree, dict):
            continue
        known = sum(guess(dotted(one)) is not None for one, _ in leaves(tree) if one)
        named = flag is not None and flag.default == name
        if known or named:
            scored.append((not named, -min(known, 5), len(name.split("/")), -known, name))
    return [name for *_, name in sorted(scored)]


def _tree(path: Path) -> Any:
    try:
        return edits.parse(path.read_text(encoding="utf-8"), _SUFFIXES[path.suffix], where=path.name)
    except (ConfigError, OSError, UnicodeDecodeError):
        return None


def _find_evaluator(found: _Findings, files: list[Path]) -> None:
    for name in ("evaluate", "eval", "evaluation", "score", "evaluator"):
        for path in files:
            if path.suffix == ".py" and path.stem.lower() == name:
                found.protected.append(found.at(path))
                given = {one.dest: one.flag for one in trainer.arguments(path, found.root)}
                source = next(
                    (
                        f"{given[dest]} {{predictions}}"
                        for dest in ("predictions", "preds", "pred", "prediction")
                        if dest in given
                    ),
                    None,
                )
                source = source or next(
                    (f"{given[dest]} {{run_dir}}" for dest in ("run_dir", "run", "output_dir", "out") if dest in given),
                    None,
                )
                split = next((f" {given[dest]} {{split}}" for dest in ("split", "set", "subset") if dest in given), "")
                if source is not None:
                    found.evaluate = f"{{python}} {found.at(path)} {source}{split}"
                else:
                    found.notes.append(
                        f"{found.at(path)} is protected, but which flags it takes is not clear; set [codebase] evaluate"
                    )
                return
    found.notes.append("no evaluation script was found; without one REA believes the trainer's own metric")


@dataclass(frozen=True, slots=True)
class _Line:
    """One drafted line of [knobs]; `doubt` says why it is only a comment."""

    name: str
    table: str
    doubt: str | None = None

    def text(self) -> str:
        line = f"{json.dumps(self.name, ensure_ascii=False)} = {{ {self.table} }}"
        return f"# {line}  # {self.doubt}" if self.doubt else line


def _knobs(found: _Findings) -> tuple[list[_Line], list[_Line]]:
    """Drafted knobs, and those a person must look at first."""
    sure: list[_Line] = []
    doubtful: list[_Line] = []
    roles = load_roles()
    taken: set[str] = set()
    for name, value, choices in _settings(found):
        last = name.rsplit(".", 1)[-1].lstrip("-").lower().replace("-", "_")
        if last in _SEED_FLAGS or last in _CONFIG_FLAGS:
            continue
        role = roles.get(guess(name) or "")
        line = _line(name, value, choices, role, found.words)
        if line is None:
            continue
        if role is not None and role.name in taken and line.doubt is None:
            line = _Line(name, line.table, f"the role {role.name} is taken by a knob above")
        if line.doubt is None and role is not None:
            taken.add(role.name)
        (sure if line.doubt is None else doubtful).append(line)
    if not sure:
        found.notes.append("no setting was recognised as a knob; add some to [knobs]")
    elif "learning_rate" not in taken:
        found.notes.append("no learning rate was recognised; give the knob that sets it the role learning_rate")
    if doubtful:
        one = len(doubtful) == 1
        drafted = "1 setting is" if one else f"{len(doubtful)} settings are"
        comments, which = ("a comment", "whether it matters") if one else ("comments", "which of them matter")
        found.notes.append(f"{drafted} drafted as {comments} in [knobs]: decide {which}")
    return sure[:_MOST_LINES], doubtful[:_MOST_LINES]


def _settings(found: _Findings) -> Iterator[tuple[str, Scalar, tuple[Scalar, ...]]]:
    """Every setting a treatment could change: name, present value, and the values known to be allowed."""
    if found.style is ConfigStyle.HYDRA:
        composition = hydra.compose(found.train, None, found.root)
        if composition is None:
            return
        for group, (option, file) in composition.groups.items():
            options = sorted(one.stem for one in file.parent.iterdir() if one.suffix in (".yaml", ".yml"))
            if len(options) > 1:
                yield group.replace("/", "."), option, tuple(options)
        for path, value in leaves(composition.values):
            yield dotted(path), from_config(value), ()
    elif found.config is not None:
        for path, value in leaves(_tree(found.root / found.config)):
            yield dotted(path), from_config(value), ()
    elif found.style is ConfigStyle.ENV and found.script is not None:
        for name, value in trainer.variables(found.script, found.root).items():
            if not name.startswith("REA_"):
                yield name, number(value) if isinstance(value, str) else value, ()
    else:
        for argument in found.arguments:
            yield argument.flag.lstrip("-"), argument.default, argument.choices


def _line(
    name: str, value: Scalar, choices: tuple[Scalar, ...], role: Role | None, words: frozenset[str]
) -> _Line | None:
    """The line for one setting; None where it can be no knob (a path, a name, a date).

    `words` are the strings in the trainer's code: of a role's choices, those are the ones the trainer seems to know.
    """
    start = f"role = {json.dumps(role.name)}, " if role else ""
    wanted = role.type if role else None
    if isinstance(value, str) and wanted in (KnobType.FLOAT, KnobType.INT):
        value = number(value)
    if choices:
        options = list(dict.fromkeys([*([value] if value is not None else []), *choices]))
        if len({type(option) for option in options}) == 1:
            return _Line(name, f"{start}choices = {_toml(options)}", None if role else "no role was recognised")
        return None
    if isinstance(value, bool):
        known = role is not None and wanted is KnobType.BOOL
        return _Line(name, f'{start if known else ""}type = "bool"', None if known else "no role was recognised")
    if isinstance(value, int | float):
        if not math.isfinite(value):
            return None
        if wanted in (KnobType.BOOL, KnobType.STR):
            role, start, wanted = None, "", None
        kind = wanted or (KnobType.FLOAT if isinstance(value, float) else KnobType.INT)
        if value != int(value):
            kind = KnobType.FLOAT
        low, high, log = _range(value, kind, role)
        if low is None or high is None:
            return _Line(name, f'{start}type = "{kind}", range = [0, 1]', f"it is {value}: give it a range")
        table = f'{start}type = "{kind}", range = [{_number(low, kind)}, {_number(high, kind)}]'
        return _Line(name, table + (", log = true" if log else ""), None if role else "no role was recognised")
    if role is None:
        return None
    if isinstance(value, str) and role.name == "mlp_units" and _sizes(value):
        sizes = _sizes(value)
        options = [value, ",".join(str(2 * size) for size in sizes), ",".join(str(max(1, size // 2)) for size in sizes)]
        return _Line(name, f"{start}choices = {_toml(list(dict.fromkeys(options)))}")
    if role.choices:
        own = [value] if isinstance(value, str) else []
        spelt = [choice for choice in role.choices if choice in words]
        if own and len({*own, *spelt}) > 1:
            return _Line(name, f"{start}choices = {_toml(list(dict.fromkeys([*own, *spelt])))}")
        options = list(dict.fromkeys([*own, *role.choices]))
        return _Line(name, f"{start}choices = {_toml(options)}", "keep the choices that the trainer knows")
    if wanted in (KnobType.FLOAT, KnobType.INT) and value is None and role.low is not None and role.high is not None:
        table = f'{start}type = "{wanted}", range = [{_number(role.low, wanted)}, {_number(role.high, wanted)}]'
        return _Line(name, table, "it has no value now: give it a default")
    return None


def _range(value: int | float, kind: KnobType, role: Role | None) -> tuple[float | None, float | None, bool]:
    """A plausible range around the present value: the role's own, widened to hold the value."""
    if role is not None and role.low is not None and role.high is not None:
        low, high = min(role.low, value), max(role.high, value)
        return low, high, role.log and low > 0
    if value <= 0:
        return None, None, False
    if kind is KnobType.INT:
        return max(1, int(value) // 4), int(value) * 4, False
    return value / 10, value * 10, True


def _sizes(text: str) -> list[int]:
    items = text.strip("[] ").split(",")
    return [int(item) for item in items] if all(item.strip().isdecimal() for item in items) else []


def _number(value: float, kind: KnobType) -> str:
    if kind is KnobType.INT:
        return str(int(value))
    return repr(float(value))


def _toml(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _render(found: _Findings, knobs: list[_Line], asides: list[_Line], files: list[Path]) -> str:
    metric = next((name for name in _METRICS if name in {word.lower() for word in found.words}), None)
    if metric is None:
        found.notes.append(
            "no known metric was found in the code; set [objective] metric to the name the trainer reports"
        )
    split = next((name for name in _SPLITS if name in found.words), None)
    if split is None:
        found.notes.append("no validation split was found in the code; set [objective] split")
    sealed = "test" if "test" in found.words else None
    if found.evaluate is not None and "{split}" not in found.evaluate:
        sealed = None
    if sealed is None:
        found.notes.append("no sealed split is set; without one nothing guards the proposal against the winner's curse")
    if "REA_METRICS" not in found.words:
        found.notes.append("the trainer does not mention REA_METRICS; let it append its metrics there as JSON lines")
    found.notes.append("[resources] walltime is a guess; measure one run and leave room")
    tops = {path.relative_to(found.root).parts[0] for path in files}
    editable = [f"{name}/**" if not name.endswith(".py") else name for name in _EDITABLE if name in tops]
    if not editable:
        found.notes.append("nothing is editable yet; code hypotheses need [codebase] editable")
    if "data" in tops or (found.root / "data").is_dir():
        found.protected.append("data/**")
    gpus = 1 if any("cuda" in word for word in found.words) else 0

    def said(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = [
        "# Drafted by `rea init`. Lines marked ← need a look; `rea doctor` checks the rest.",
        "[codebase]",
        f"name = {said(as_name(found.root.name) or 'model')}",
        f"python = {said(found.python)}",
        f"train = {said(found.train)}" + ("" if found.script else "  # ← no training script was found"),
        f"evaluate = {said(found.evaluate)}"
        if found.evaluate
        else '# evaluate = "{python} evaluate.py --predictions {predictions} --split {split}"  # ←',
        *([f"config = {said(found.config)}"] if found.config else []),
        f"style = {said(found.style.value)}  # how overrides reach it: yaml | toml | json | hydra | argparse | env",
        f"editable = {said(editable)}  # what a code hypothesis may touch" + ("" if editable else "  ←"),
        f"protected = {said(found.protected)}  # what it never may",
        "",
        "[objective]",
        f"metric = {said(metric or 'ne')}" + ("" if metric else "  # ← the name the trainer reports"),
        f"direction = {said(_METRICS[metric or 'ne'])}",
        f"split = {said(split or 'valid')}  # what REA may look at" + ("" if split else "  ←"),
        f"sealed = {said(sealed)}  # looked at once, for the proposal"
        if sealed
        else '# sealed = "test"  # ← a second held-out split, looked at once, for the proposal',
        "minimum_gain = 0.0005  # smallest relative gain worth launching",
        "",
        "[resources]  # of one run",
        "cpus = 1",
        f"gpus = {gpus}",
        '# memory = "8GiB"',
        'walltime = "1h"  # ← measure one run and leave room',
        "",
        "[launcher]",
        'kind = "local"',
        "slots = 1",
        "",
        "[knobs]",
        *(line.text() for line in knobs),
        *(["# Uncomment what may be changed; each knob needs a range or choices."] if asides else []),
        *(line.text() for line in asides),
    ]
    return "\n".join(lines) + "\n"
