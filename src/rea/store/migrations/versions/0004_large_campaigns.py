"""A wake finds the runs it looks at among very many others."""

from __future__ import annotations

from alembic import op

revision = "0004_large_campaigns"
down_revision = "0003_same_data"


def upgrade() -> None:
    op.create_index("runs_of_hypothesis", "runs", ["campaign", "hypothesis"])
    op.create_index("runs_by_state", "runs", ["campaign", "state"])
