"""How predictions come in: files, runs, networks."""
