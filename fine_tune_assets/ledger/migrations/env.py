"""Runs the migrations on the connection that `open_ledger` hands over, under its lock."""

from alembic import context

from fine_tune_assets.ledger.ledger_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can: a migration that fails half way leaves nothing behind
)
with context.begin_transaction():
    context.run_migrations()
