"""Experiments as a file that another store can read: JSON lines, or Parquet.

The first line of a JSON-lines file is `{"rea_insights": 1}`, the number of the format; every other one is the content
of one experiment, as `rea.domain.insight.content` gives it. A Parquet file has one row an experiment, with the same
JSON in the column `record`, the columns most asked for beside it, and the number of the format in its metadata under
`rea_insights`.
What only its store knows of an experiment (id, trust, origin, supersession) is not exported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from rea.domain.errors import ReaError, UsageError
from rea.domain.hypothesis import HypothesisKind
from rea.domain.insight import ExperimentOutcome, ExperimentRecord, content
from rea.insights.features import FACTS

FORMAT: Final = 1
KEY: Final = "rea_insights"
BATCH: Final = 5000
_COLUMNS: Final = ("codebase", "campaign", "hypothesis", "round", "technique", "kind", "outcome", "effect", "se", "at")
_NAMES: Final = frozenset(f.name for f in fields(ExperimentRecord))
LARGEST: Final = 10**18  # of whole numbers, and of numbers that nothing bounds
# By number: the least and the largest it may be, and what is expected, in words.
LIMITS: Final[Mapping[str, tuple[float, float, str]]] = {
    "effect": (-1e6, 10.0, "a relative gain from -1e6 to 10 (0.005 is half a per cent)"),
    "se": (0.0, 1e6, "a standard error, 0 or more (0.001 is a tenth of a per cent)"),
    "cost_ratio": (0.0, 1e6, "a ratio from 0 to 1e6"),
    "fidelity": (0.0, 1.0, "a share of the whole run, from 0 to 1"),
    "cost_s": (0.0, 1e15, "device-seconds, 0 or more"),
    "at": (-1e12, 1e12, "seconds since 1970"),
}


class Importer(Protocol):
    """What a store offers to take experiments in."""

    def import_experiments(
        self, records: Sequence[ExperimentRecord], *, file: str, by: str, at: float, trust: float
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: experiments added, already known by their content, and lines skipped with what is wrong."""

    file: str
    added: int
    known: int
    skipped: tuple[str, ...] = ()


def export_file(records: Iterable[ExperimentRecord], path: Path) -> int:
    """Write experiments to a file ending in .jsonl or .parquet; gives their number.

    The file appears whole or not at all. Raises UsageError for another ending, for a place that cannot be written, and
    for .parquet where pyarrow is missing.
    """
    kind = _kind(path)
    part = path.with_name(f"{path.name}.part")
    try:
        count = _write_parquet(records, part) if kind == ".parquet" else _write_lines(records, part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        hint = "name a file in a folder that is there and may be written to"
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
    return count


def import_file(
    store: Importer, path: Path, *, by: str, at: float, trust: float = 1.0, skip_bad: bool = False
) -> Imported:
    """Keep the experiments of a file, each once however often it is imported.

    `trust` in (0, 1] is the share of its evidence that counts here. Raises UsageError where the file is none of ours or
    a line is no experiment, naming the first such line; with `skip_bad` these are left out and named in what is given
    back. Without it a file with a bad line leaves nothing behind.
    """
    if not 0 < trust <= 1:
        raise UsageError(f"a trust of {trust:g} is no share", hint="give a number above 0, up to 1, such as 0.5")
    skipped: list[str] = []
    read = _read_parquet(path) if _kind(path) == ".parquet" else _read_lines(path)
    good: list[ExperimentRecord] = []
    for place, found in read:
        try:
            good.append(parse(found))
        except ValueError as error:
            if not skip_bad:
                hint = "mend or delete it, or leave out all such lines with --skip-bad"
                raise UsageError(f"{path}, {place}: {error}", hint=hint) from error
            skipped.append(f"{place}: {error}")
    added = store.import_experiments(good, file=path.name, by=by, at=at, trust=trust) if good else 0
    return Imported(str(path), added, len(good) - added, tuple(skipped))


def parse(text: str) -> ExperimentRecord:
    """One experiment from its JSON. Raises ValueError saying what was expected where."""
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error})") from error
    if not isinstance(plain, dict):
        raise ValueError(f"holds {str(plain)[:40]!r}; expected one experiment as an object")
    strange = sorted(set(plain) - _NAMES)
    if strange:
        raise ValueError(f"{strange[0][:40]!r} is no field of an experiment; they are: {', '.join(sorted(_NAMES))}")
    record = dict(plain)
    _require(record, "codebase", str)
    _require(record, "campaign", int)
    _require(record, "hypothesis", int)
    _require(record, "round", int)
    _require(record, "outcome", str)
    if record["outcome"] not in list(ExperimentOutcome):
        raise ValueError(f"outcome is {record['outcome']!r}; expected one of: {', '.join(ExperimentOutcome)}")
    if record.setdefault("kind", "single") not in list(HypothesisKind):
        raise ValueError(f"kind is {record['kind']!r}; expected one of: {', '.join(HypothesisKind)}")
    technique = record.setdefault("technique", None)
    if technique is not None and not isinstance(technique, str):
        raise ValueError(f"technique is {technique!r}; expected a text or null")
    for name in ("roles", "values", "context"):
        record[name] = _settings(record.get(name, {}), name)
    for name, (low, high, words) in LIMITS.items():
        _number(record, name, low, high, words)
    record.setdefault("seeds", 0)
    _require(record, "seeds", int)
    for name in ("note", "failure"):
        if record.get(name) is not None and not isinstance(record[name], str):
            raise ValueError(f"{name} is {record[name]!r}; expected a text")
    together = record.get("interaction_of", [])
    if not isinstance(together, list) or not all(isinstance(name, str) for name in together):
        raise ValueError(f"interaction_of is {together!r}; expected a list of techniques")
    record["interaction_of"] = tuple(together)
    record["parts"] = _parts(record.get("parts", {}))
    for name in ("id", "origin", "trust", "superseded_by"):
        record.pop(name, None)
    return ExperimentRecord(id=None, **record)


def _require(record: Mapping[str, Any], name: str, kind: type) -> None:
    value = record.get(name)
    fine = isinstance(value, kind) and not isinstance(value, bool) and value != ""
    if not fine or (isinstance(value, int) and not 0 <= value < LARGEST):
        words = {str: "a text", int: "a whole number from 0"}[kind]
        raise ValueError(f"{name} is {'missing' if name not in record else _said(value)}; expected {words}")


def _said(value: Any) -> str:
    try:
        found = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number too long to be written"
    return found if len(found) <= 60 else f"{found[:57]}…"


def _number(record: dict[str, Any], name: str, low: float, high: float, words: str) -> None:
    value = record.get(name)
    if value is None:
        if name in ("fidelity", "cost_s", "at"):
            record.pop(name, None)
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} is {_said(value)}; expected {words}")
    record[name] = float(value)


def _settings(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; expected an object")
    made = {}
    for key, item in value.items():
        if isinstance(item, list) and name == "context":
            item = tuple(map(str, item))
        elif isinstance(item, list | dict):
            raise ValueError(f"{name}.{key} is {_said(item)}; expected a single value")
        number = isinstance(item, int | float) and not isinstance(item, bool)
        if number and not -LARGEST < item < LARGEST:
            raise ValueError(f"{name}.{key} is {_said(item)}; expected a number below 1e18")
        if name == "context" and key in FACTS and item is not None and not number:
            raise ValueError(f"context.{key} is {_said(item)}; expected a number")
        made[key] = item
    return made


def _parts(value: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(value, dict):
        raise ValueError(f"parts is {_said(value)}; expected an object")
    made = {}
    for name, item in value.items():
        numbers = item if isinstance(item, list) and len(item) == 2 else []
        if not numbers or not all(_is_share(number) for number in numbers) or numbers[1] < 0:
            raise ValueError(f"parts.{name} is {_said(item)}; expected a gain and its standard deviation")
        made[name] = (float(numbers[0]), float(numbers[1]))
    return made


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _kind(path: Path) -> str:
    if path.suffix not in (".jsonl", ".parquet"):
        raise UsageError(f"{path} is neither .jsonl nor .parquet", hint="end the file's name with one of the two")
    return path.suffix


def _line(record: ExperimentRecord) -> str:
    return json.dumps(content(record), ensure_ascii=False)


def _write_lines(records: Iterable[ExperimentRecord], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps({KEY: FORMAT}) + "\n")
        for record in records:
            file.write(_line(record) + "\n")
            count += 1
    return count


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            try:
                head = json.loads(file.readline())
            except ValueError:
                head = None
            _check_format(head.get(KEY) if isinstance(head, dict) else None, path, "line 1")
            for number, line in enumerate(file, start=2):
                if line.strip():
                    yield f"line {number}", line
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="name a file of `rea insights export`"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}", hint="name a file of `rea insights export`") from error


def _check_format(found: Any, path: Path, place: str) -> None:
    if isinstance(found, int) and found > FORMAT:
        raise UsageError(
            f"{path} has format {found} of insights, this release reads up to {FORMAT}",
            hint="upgrade rea here, or export with the older release there",
        )
    if found != FORMAT:
        hint = f"a file of `rea insights export` says {json.dumps({KEY: FORMAT})} there"
        raise UsageError(f"{path}, {place}: this is no file of insights", hint=hint)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ReaError(
            "Parquet needs pyarrow, which is not installed", hint="`pip install 'rea[parquet]'`, or use a .jsonl file"
        ) from error
    return pyarrow, pyarrow.parquet


def _write_parquet(records: Iterable[ExperimentRecord], path: Path) -> int:
    pyarrow, parquet = _pyarrow()
    text, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    kinds = dict(zip(_COLUMNS, (text, whole, whole, whole, text, text, text, real, real, real), strict=True))
    schema = pyarrow.schema([*kinds.items(), ("record", text)], metadata={KEY: str(FORMAT)})
    count, waiting = 0, iter(records)
    with parquet.ParquetWriter(path, schema) as writer:
        while batch := list(islice(waiting, BATCH)):
            columns = {name: [getattr(record, name) for record in batch] for name in _COLUMNS}
            columns["record"] = [_line(record) for record in batch]
            writer.write_table(pyarrow.table(columns, schema=schema))
            count += len(batch)
    return count


def _read_parquet(path: Path) -> Iterator[tuple[str, str]]:
    pyarrow, parquet = _pyarrow()
    try:
        file = parquet.ParquetFile(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="name a file of `rea insights export`") from error
    except pyarrow.ArrowInvalid as error:
        raise UsageError(f"{path} is no Parquet file: {error}", hint="name a file of `rea insights export`") from error
    with file:
        told = (file.schema_arrow.metadata or {}).get(KEY.encode())
        _check_format(int(told) if told and told.isdigit() else None, path, "its metadata")
        number = 0
        for batch in file.iter_batches(BATCH, columns=["record"]):
            for text in batch.column(0).to_pylist():
                number += 1
                yield f"row {number}", str(text)
