"""A counter as a Django view: a row that an UPDATE adds to, in SQLite as its own advice for production has it, or in PostgreSQL."""
