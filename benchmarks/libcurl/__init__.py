"""An HTTP client on libcurl that vets addresses and bounds answers as ours does: what a drain on it could do."""
