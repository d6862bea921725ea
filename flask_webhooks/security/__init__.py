"""What keeps receivers, addresses and secrets in check: pure functions, and the encryption at rest."""
