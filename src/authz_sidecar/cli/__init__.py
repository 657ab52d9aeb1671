"""Floor 12: the command line, one module a command; the only floor that builds concrete stores and servers."""
