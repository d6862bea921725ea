"""From due rows to answered requests: claim (lease), send, settle, again and again."""
