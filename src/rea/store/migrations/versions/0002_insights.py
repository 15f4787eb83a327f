"""What experiments showed as sufficient statistics, with provenance, supersession and a search by text."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002_insights"
down_revision = "0001_first"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NUMBER: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_OUTCOMES = "outcome IN ('supported', 'refuted', 'inconclusive', 'failed', 'pruned')"
_KEPT = "id, campaign, hypothesis, round, codebase, technique, outcome, at, record"

_TEXT_INDEX = {
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


def upgrade() -> None:
    """Rows keep their records; what is derived from them stays empty here and is filled by the store afterwards."""
    dialect = op.get_bind().dialect.name
    op.create_table(
        "imports",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("trust", _NUMBER, nullable=False),
        sa.CheckConstraint("trust > 0 AND trust <= 1", name="imports_trust_share"),
        sqlite_strict=True,
    )
    op.create_table(
        "contexts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("context", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "cells",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("technique", sa.Text, nullable=False),
        sa.Column("setting", sa.Text, nullable=False),
        sa.Column("start", sa.Text, nullable=False),
        sa.Column("codebase", sa.Text, nullable=False),
        sa.Column("context", sa.Text, sa.ForeignKey("contexts.key"), nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("weight", _NUMBER, nullable=False),
        sa.Column("moment", _NUMBER, nullable=False),
        sa.Column("square", _NUMBER, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("pruned", sa.Integer, nullable=False),
        sa.Column("bound", _NUMBER, nullable=False),
        sa.Column("bound_variance", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("cells_of_technique", "cells", ["technique"])
    op.create_index("cells_of_codebase", "cells", ["codebase", "technique"])
    op.create_table(
        "evidence",
        sa.Column("technique", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "fits",
        sa.Column("technique", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("fit", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    if dialect == "sqlite":
        _rebuild()
    else:
        op.alter_column("experiments", "campaign", nullable=True)
        op.alter_column("experiments", "hypothesis", nullable=True)
        for column in _columns():
            op.add_column("experiments", column)
    op.create_index("experiments_of_cell", "experiments", ["cell"])
    op.create_index("experiments_of_subject", "experiments", ["subject"])
    op.create_index("experiments_by_digest", "experiments", ["digest"], unique=True)
    op.create_table(
        "pairs",
        sa.Column(
            "experiment",
            _ID,
            sa.ForeignKey("experiments.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("a", sa.Text, primary_key=True),
        sa.Column("b", sa.Text, primary_key=True),
        sa.Column("codebase", sa.Text, nullable=False),
        sa.Column("excess", _NUMBER, nullable=False),
        sa.Column("se", _NUMBER, nullable=False),
        sa.Column("smaller", _NUMBER, nullable=False),
        sa.Column("share", sa.Integer, nullable=False),
        sa.Column("weight", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("pairs_of_two", "pairs", ["a", "b"])
    for statement in _TEXT_INDEX[dialect]:
        op.execute(statement)
    if dialect == "sqlite":
        # The triggers take a row's old text out of the index: it must know the rows that were there before it.
        op.execute("INSERT INTO experiment_words (experiment_words) VALUES ('rebuild')")


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("digest", sa.Text),
        sa.Column("kind", sa.Text),
        sa.Column("effect", _NUMBER),
        sa.Column("se", _NUMBER),
        sa.Column("precision", _NUMBER),
        sa.Column("trust", _NUMBER),
        sa.Column("origin", _ID, sa.ForeignKey("imports.id")),
        sa.Column("subject", sa.Text),
        sa.Column("superseded_by", _ID),
        sa.Column("cell", sa.Text),
        sa.Column("words", sa.Text),
    )


def _rebuild() -> None:
    """SQLite cannot drop a NOT NULL: the table is made anew and its rows are copied."""
    op.drop_index("experiments_of_codebase", "experiments")
    op.drop_index("experiments_of_technique", "experiments")
    op.rename_table("experiments", "experiments_before")
    op.create_table(
        "experiments",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id")),
        sa.Column("hypothesis", _ID, sa.ForeignKey("hypotheses.id")),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("codebase", sa.Text, nullable=False),
        sa.Column("technique", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        *_columns(),
        sa.UniqueConstraint("campaign", "hypothesis", "round", name="experiments_once"),
        sa.CheckConstraint(_OUTCOMES, name="experiments_outcome_known"),
        sqlite_strict=True,
    )
    op.execute(f"INSERT INTO experiments ({_KEPT}) SELECT {_KEPT} FROM experiments_before")
    op.drop_table("experiments_before")
    op.create_index("experiments_of_codebase", "experiments", ["codebase", "at"])
    op.create_index("experiments_of_technique", "experiments", ["technique", "outcome"])
