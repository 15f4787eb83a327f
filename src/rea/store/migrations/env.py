"""How Alembic runs the migrations: on the connection it is handed, inside that connection's transaction.

A migration is frozen once released; it spells out its tables instead of importing them. Alembic's batch mode copies a
SQLite table without its STRICT, so a later migration that must rebuild one creates, copies and renames by hand.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
