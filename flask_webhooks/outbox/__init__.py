"""Recording of events in the host's transaction, and the wake-up after its commit."""
