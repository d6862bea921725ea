"""The HTTP client: one thread, libcurl, and an address check before every socket."""
