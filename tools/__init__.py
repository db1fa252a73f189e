"""The project's own machinery: what the Makefile runs. Standard library only, as it runs before anything is installed."""
