"""``make demo``: the example licensing server with everything around it, and traffic through all of them."""
