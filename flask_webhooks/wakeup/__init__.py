"""Wake-ups of workers through Redis, which stores nothing that must not be lost."""
