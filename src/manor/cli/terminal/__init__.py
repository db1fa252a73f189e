"""How verbs speak with whoever is at the terminal: options in, lines and objects out, Ctrl-C."""
