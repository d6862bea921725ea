"""What all statements share: transactions, locks, the clock, upserts."""
