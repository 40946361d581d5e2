"""One object's private SQLite file: key-value, SQL, transactions, metadata, and when a commit is durable."""
