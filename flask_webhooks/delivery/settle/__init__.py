"""Record what attempts came to: decide, write."""
