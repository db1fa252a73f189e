"""What Alembic runs: the migrations, over the connection that it is handed."""

from alembic import context

from manor.state import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
