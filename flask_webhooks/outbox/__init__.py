"""Events into the database, in the host's own transaction, and a wake-up once that has committed."""
