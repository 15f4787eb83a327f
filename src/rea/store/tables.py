"""Every table of the store.

Values that are only read as a whole (drafts, results, claims) are JSON text; what the database selects, joins or
guards by is a column. Times are Unix seconds, amounts device-seconds. STRICT makes SQLite as particular about types as
PostgreSQL is. The states in the comments are those of `rea.domain.states`, which also lists the transitions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sqlalchemy import (
    DDL,
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.types import TypeEngine

from rea.domain.insight import ExperimentOutcome
from rea.domain.ledger import EntryKind, Purse
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    PlanState,
    RunState,
    Verdict,
)

metadata: Final = MetaData()

Id: Final = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER numbers its rows in SQLite
Number: Final[TypeEngine[float]] = Double().with_variant(REAL(), "sqlite")  # eight bytes in both


def one_of(table: str, column: str, kind: type[StrEnum]) -> CheckConstraint:
    values = ", ".join(f"'{member.value}'" for member in kind)
    return CheckConstraint(f"{column} IN ({values})", name=f"{table}_{column}_known")


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),  # uid: six hexadecimal characters, made with the store
    Column("value", Text, nullable=False),
    sqlite_strict=True,
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("codebase", Text, nullable=False),  # JSON: Codebase
    Column("commit", Text, nullable=False),
    Column("state", Text, nullable=False),  # profiling drafted approved running paused finished stopped failed
    Column("round", Integer, nullable=False),
    Column("phase", Text, nullable=False),  # profile validation combination exploitation confirmation reveal done
    Column("created_at", Number, nullable=False),
    Column("env", Text, nullable=False),  # JSON: dict[str, str]
    Column("options", Text, nullable=False),  # JSON: dict
    Column("incumbent", Id),  # a hypothesis; no foreign key, the two tables would need each other to exist
    Column("verdict", Text),  # launch no_launch, once finished
    Column("visible", Text),  # JSON: Claim
    Column("claim", Text),  # JSON: Claim
    Column("reason", Text, nullable=False),
    Column("pause_reason", Text),  # engineer budget launcher guardrail disk, while paused
    Column("next_wake_at", Number),
    Column("ended_at", Number),
    Column("fence", Integer, nullable=False),  # grows with every lease; writes of an older one are refused
    Column("lease_owner", Text),
    Column("lease_until", Number),
    one_of("campaigns", "state", CampaignState),
    one_of("campaigns", "phase", Phase),
    one_of("campaigns", "verdict", Verdict),
    one_of("campaigns", "pause_reason", PauseReason),
    sqlite_strict=True,
)

hypotheses = Table(
    "hypotheses",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("digest", Text, nullable=False),  # of the full treatment's key: the same model is tested once a round
    Column("state", Text, nullable=False),  # proposed testing supported inconclusive refuted failed vetoed left_out
    Column("draft", Text, nullable=False),  # JSON: HypothesisDraft
    Column("belief", Text),  # JSON: Belief, once tested
    Column("reason", Text, nullable=False),
    UniqueConstraint("campaign", "round", "digest", name="hypotheses_treatment_once"),
    one_of("hypotheses", "state", HypothesisState),
    sqlite_strict=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("hypothesis", Id, ForeignKey("hypotheses.id")),  # NULL: the baseline
    Column("state", Text, nullable=False),  # planned active succeeded pruned failed cancelled
    Column("draft", Text, nullable=False),  # JSON: RunDraft
    Column("not_before", Number, nullable=False),
    Column("result", Text),  # JSON: RunResult
    Column("failure", Text),  # JSON: Failure
    Column("adjust", Text),  # JSON: dict[str, Scalar]; overrides beside those of the treatment
    UniqueConstraint("campaign", "key", name="runs_key_once"),
    one_of("runs", "state", RunState),
    Index("runs_of_hypothesis", "campaign", "hypothesis"),
    Index("runs_by_state", "campaign", "state"),
    sqlite_strict=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("run", Id, ForeignKey("runs.id"), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, … within the run
    Column("job", Text, nullable=False, unique=True),
    Column("run_dir", Text, nullable=False),
    Column("state", Text, nullable=False),  # intended submitted ended
    Column("reserved_s", Number, nullable=False),
    Column("intended_at", Number, nullable=False),
    Column("outcome", Text),
    Column("failure", Text),  # JSON: Failure
    Column("device_s", Number),
    Column("started_at", Number),
    Column("ended_at", Number),
    UniqueConstraint("run", "number", name="attempts_number_once"),
    one_of("attempts", "state", AttemptState),
    CheckConstraint("reserved_s >= 0", name="attempts_reserved_s_positive"),
    Index("attempts_of_campaign", "campaign", "state"),
    sqlite_strict=True,
)

entries = Table(
    "entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("kind", Text, nullable=False),  # approve reserve settle
    Column("device_s", Number, nullable=False),
    Column("at", Number, nullable=False),
    Column("attempt", Id, ForeignKey("attempts.id")),  # NULL with approve
    Column("purse", Text, nullable=False),  # main contingency
    Column("note", Text, nullable=False),
    UniqueConstraint("attempt", "kind", name="entries_attempt_once"),
    one_of("entries", "kind", EntryKind),
    one_of("entries", "purse", Purse),
    CheckConstraint("device_s >= 0", name="entries_device_s_positive"),
    CheckConstraint("(kind = 'approve') = (attempt IS NULL)", name="entries_attempt_named"),
    Index("entries_of_campaign", "campaign"),
    sqlite_strict=True,
)

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("at", Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON: dict
    Index("events_of_campaign", "campaign", "id"),
    sqlite_strict=True,
)

plans = Table(
    "plans",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("version", Integer, nullable=False),  # 1, 2, … within the campaign
    Column("state", Text, nullable=False),  # draft approved rejected superseded
    Column("text", Text, nullable=False),  # canonical JSON: exactly what is signed
    Column("digest", Text, nullable=False),
    Column("created_at", Number, nullable=False),
    UniqueConstraint("campaign", "version", name="plans_version_once"),
    one_of("plans", "state", PlanState),
    sqlite_strict=True,
)

approvals = Table(
    "approvals",
    metadata,
    Column("plan", Id, ForeignKey("plans.id"), primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("signer", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("at", Number, nullable=False),
    sqlite_strict=True,
)

# What experiments showed. `record` holds all of one; the columns are what the database selects, sums or joins by.
imports = Table(
    "imports",
    metadata,
    Column("id", Id, primary_key=True),
    Column("file", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Number, nullable=False),
    Column("trust", Number, nullable=False),  # in (0, 1], of every experiment in the file
    CheckConstraint("trust > 0 AND trust <= 1", name="imports_trust_share"),
    sqlite_strict=True,
)

contexts = Table(
    "contexts",
    metadata,
    Column("key", Text, primary_key=True),  # digest of the text
    Column("context", Text, nullable=False),  # JSON: Context
    sqlite_strict=True,
)

# What contexts of the same data are found by, of those that say both.
extracts = Table(
    "extracts",
    metadata,
    Column("context", Text, ForeignKey("contexts.key"), primary_key=True),
    Column("rows", Number, nullable=False),
    Column("positive_rate", Number, nullable=False),
    Index("extracts_by_size", "rows", "positive_rate"),
    sqlite_strict=True,
)

# Sufficient statistics of the experiments that agree in all of the first five: see rea.domain.insight.Cell.
cells = Table(
    "cells",
    metadata,
    Column("key", Text, primary_key=True),  # digest of the five
    Column("technique", Text, nullable=False),
    Column("setting", Text, nullable=False),
    Column("start", Text, nullable=False),  # JSON: dict[str, Scalar]
    Column("codebase", Text, nullable=False),
    Column("context", Text, ForeignKey("contexts.key"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("weight", Number, nullable=False),
    Column("moment", Number, nullable=False),
    Column("square", Number, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("pruned", Integer, nullable=False),
    Column("bound", Number, nullable=False),
    Column("bound_variance", Number, nullable=False),
    Index("cells_of_technique", "technique"),
    Index("cells_of_codebase", "codebase", "technique"),
    Index("cells_of_context", "context", "codebase"),
    sqlite_strict=True,
)

# How often the cells of a technique have changed, so that a fit knows whether it is of today.
evidence = Table(
    "evidence",
    metadata,
    Column("technique", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    sqlite_strict=True,
)

fits = Table(
    "fits",
    metadata,
    Column("technique", Text, primary_key=True),
    Column("revision", Integer, nullable=False),  # of the evidence it was made from
    Column("card", Text, nullable=False),  # digest of what it takes from the card
    Column("fit", LargeBinary, nullable=False),  # rea.insights.posterior.Fit.to_bytes
    sqlite_strict=True,
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id")),  # NULL: imported
    Column("hypothesis", Id, ForeignKey("hypotheses.id")),
    Column("round", Integer, nullable=False),
    Column("codebase", Text, nullable=False),
    Column("technique", Text),
    Column("outcome", Text, nullable=False),  # supported refuted inconclusive failed pruned
    Column("at", Number, nullable=False),
    Column("record", Text, nullable=False),  # JSON: ExperimentRecord
    Column("digest", Text),  # content_id; NULL until the columns below are derived from the record
    Column("kind", Text),
    Column("effect", Number),
    Column("se", Number),
    Column("precision", Number),
    Column("trust", Number),
    Column("origin", Id, ForeignKey("imports.id")),  # NULL: of a campaign of this store
    Column("subject", Text),
    Column("superseded_by", Id),
    Column("cell", Text),
    Column("words", Text),  # what a search by text looks at
    UniqueConstraint("campaign", "hypothesis", "round", name="experiments_once"),
    one_of("experiments", "outcome", ExperimentOutcome),
    Index("experiments_of_technique", "technique", "outcome"),
    Index("experiments_of_codebase", "codebase", "at"),
    Index("experiments_of_cell", "cell"),
    Index("experiments_of_subject", "subject"),
    Index("experiments_by_digest", "digest", unique=True),
    sqlite_strict=True,
)

pairs = Table(
    "pairs",
    metadata,
    Column("experiment", Id, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("a", Text, primary_key=True),
    Column("b", Text, primary_key=True),
    Column("codebase", Text, nullable=False),
    Column("excess", Number, nullable=False),
    Column("se", Number, nullable=False),
    Column("smaller", Number, nullable=False),
    Column("share", Integer, nullable=False),
    Column("weight", Number, nullable=False),  # 1 / Excess.variance
    Index("pairs_of_two", "a", "b"),
    sqlite_strict=True,
)

# Search by text: an FTS5 index that triggers keep beside the table (https://www.sqlite.org/fts5.html, section 4.4.3),
# and on PostgreSQL an index over tsvector.
TEXT_INDEX: Final = {
    "sqlite": (
        "CREATE VIRTUAL TABLE experiment_words USING fts5("
        "words, content='experiments', content_rowid='id', tokenize='porter unicode61')",
        "CREATE TRIGGER experiment_words_added AFTER INSERT ON experiments BEGIN "
        "INSERT INTO experiment_words (rowid, words) VALUES (new.id, new.words); END",
        "CREATE TRIGGER experiment_words_removed AFTER DELETE ON experiments BEGIN "
        "INSERT INTO experiment_words (experiment_words, rowid, words) VALUES ('delete', old.id, old.words); END",
        "CREATE TRIGGER experiment_words_changed AFTER UPDATE OF words ON experiments BEGIN "
        "INSERT INTO experiment_words (experiment_words, rowid, words) VALUES ('delete', old.id, old.words); "
        "INSERT INTO experiment_words (rowid, words) VALUES (new.id, new.words); END",
    ),
    "postgresql": (
        "CREATE INDEX experiment_words ON experiments USING gin (to_tsvector('english', coalesce(words, '')))",
    ),
}

grants = Table(
    "grants",
    metadata,
    Column("campaign", Id, ForeignKey("campaigns.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("by", Text, nullable=False),
    Column("at", Number, nullable=False),
    sqlite_strict=True,
)

questions = Table(
    "questions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("options", Text, nullable=False),  # JSON: list[Option]
    Column("at", Number, nullable=False),
    Column("answer", Text),  # the name of an option
    Column("by", Text),
    Column("answered_at", Number),
    UniqueConstraint("campaign", "kind", "subject", name="questions_once"),
    CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="questions_answered_whole"),
    sqlite_strict=True,
)

# How often what a runbook prescribes was tried after its failure, and how often the run then ended well.
remedies = Table(
    "remedies",
    metadata,
    Column("runbook", Text, primary_key=True),
    Column("remedy", Text, primary_key=True),  # "retry", "resume", or the changes as JSON
    Column("tried", Integer, nullable=False),
    Column("worked", Integer, nullable=False),
    CheckConstraint("worked >= 0 AND worked <= tried", name="remedies_worked_share"),
    sqlite_strict=True,
)

# What investigations found behind failures that no runbook knows, by the line that gave them away.
lessons = Table(
    "lessons",
    metadata,
    Column("pattern", Text, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("seen", Integer, nullable=False),
    Column("at", Number, nullable=False),
    sqlite_strict=True,
)

# Every change of the rows above that are a campaign's, in a chain: see rea.store.trail.
trail = Table(
    "trail",
    metadata,
    Column("campaign", Id, ForeignKey("campaigns.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # 1, 2, … within the campaign
    Column("row", Text, nullable=False),  # "runs/40"; with a ! where it was found altered
    Column("content", Text, nullable=False),  # digest of what the row says from then on
    Column("link", Text, nullable=False),  # digest of this and the link before
    Index("trail_of_row", "campaign", "row", "number"),
    sqlite_strict=True,
)

heads = Table(
    "heads",
    metadata,
    Column("campaign", Id, ForeignKey("campaigns.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("link", Text, nullable=False),
    sqlite_strict=True,
)

for _dialect, _statements in TEXT_INDEX.items():
    for _statement in _statements:
        event.listen(metadata, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]
