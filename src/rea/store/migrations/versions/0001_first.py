"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_first"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NUMBER: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "campaigns",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("codebase", sa.Text, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("created_at", _NUMBER, nullable=False),
        sa.Column("env", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("incumbent", _ID),
        sa.Column("verdict", sa.Text),
        sa.Column("visible", sa.Text),
        sa.Column("claim", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("pause_reason", sa.Text),
        sa.Column("next_wake_at", _NUMBER),
        sa.Column("ended_at", _NUMBER),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", _NUMBER),
        sa.CheckConstraint(
            "state IN ('profiling', 'drafted', 'approved', 'running', 'paused', 'finished', 'stopped', 'failed')",
            name="campaigns_state_known",
        ),
        sa.CheckConstraint(
            "phase IN ('profile', 'validation', 'combination', 'exploitation', 'confirmation', 'reveal', 'done')",
            name="campaigns_phase_known",
        ),
        sa.CheckConstraint("verdict IN ('launch', 'no_launch')", name="campaigns_verdict_known"),
        sa.CheckConstraint(
            "pause_reason IN ('engineer', 'budget', 'guardrail')",
            name="campaigns_pause_reason_known",
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "hypotheses",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("draft", sa.Text, nullable=False),
        sa.Column("belief", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.UniqueConstraint("campaign", "round", "digest", name="hypotheses_treatment_once"),
        sa.CheckConstraint(
            "state IN ('proposed', 'testing', 'supported', 'inconclusive', 'refuted', 'failed', 'vetoed', 'left_out')",
            name="hypotheses_state_known",
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "runs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("hypothesis", _ID, sa.ForeignKey("hypotheses.id")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("draft", sa.Text, nullable=False),
        sa.Column("not_before", _NUMBER, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("failure", sa.Text),
        sa.UniqueConstraint("campaign", "key", name="runs_key_once"),
        sa.CheckConstraint(
            "state IN ('planned', 'active', 'succeeded', 'pruned', 'failed', 'cancelled')", name="runs_state_known"
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "attempts",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("run", _ID, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("job", sa.Text, nullable=False, unique=True),
        sa.Column("run_dir", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reserved_s", _NUMBER, nullable=False),
        sa.Column("intended_at", _NUMBER, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("device_s", _NUMBER),
        sa.Column("started_at", _NUMBER),
        sa.Column("ended_at", _NUMBER),
        sa.UniqueConstraint("run", "number", name="attempts_number_once"),
        sa.CheckConstraint("state IN ('intended', 'submitted', 'ended')", name="attempts_state_known"),
        sa.CheckConstraint("reserved_s >= 0", name="attempts_reserved_s_positive"),
        sqlite_strict=True,
    )
    op.create_index("attempts_of_campaign", "attempts", ["campaign", "state"])
    op.create_table(
        "entries",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("device_s", _NUMBER, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("attempt", _ID, sa.ForeignKey("attempts.id")),
        sa.Column("purse", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.UniqueConstraint("attempt", "kind", name="entries_attempt_once"),
        sa.CheckConstraint("kind IN ('approve', 'reserve', 'settle')", name="entries_kind_known"),
        sa.CheckConstraint("purse IN ('main', 'contingency')", name="entries_purse_known"),
        sa.CheckConstraint("device_s >= 0", name="entries_device_s_positive"),
        sa.CheckConstraint("(kind = 'approve') = (attempt IS NULL)", name="entries_attempt_named"),
        sqlite_strict=True,
    )
    op.create_index("entries_of_campaign", "entries", ["campaign"])
    op.create_table(
        "events",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("events_of_campaign", "events", ["campaign", "id"])
    op.create_table(
        "plans",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created_at", _NUMBER, nullable=False),
        sa.UniqueConstraint("campaign", "version", name="plans_version_once"),
        sa.CheckConstraint("state IN ('draft', 'approved', 'rejected', 'superseded')", name="plans_state_known"),
        sqlite_strict=True,
    )
    op.create_table(
        "approvals",
        sa.Column("plan", _ID, sa.ForeignKey("plans.id"), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("signer", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "experiments",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("hypothesis", _ID, sa.ForeignKey("hypotheses.id"), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("codebase", sa.Text, nullable=False),
        sa.Column("technique", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.UniqueConstraint("campaign", "hypothesis", "round", name="experiments_once"),
        sa.CheckConstraint(
            "outcome IN ('supported', 'refuted', 'inconclusive', 'failed', 'pruned')", name="experiments_outcome_known"
        ),
        sqlite_strict=True,
    )
    op.create_index("experiments_of_codebase", "experiments", ["codebase", "at"])
    op.create_index("experiments_of_technique", "experiments", ["technique", "outcome"])
    op.create_table(
        "grants",
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
