"""The declaration: load, merge, validate, and what follows from it (names, ports, topology)."""
