"""The common parts of statements: transactions, locks, the clock, upserts."""
