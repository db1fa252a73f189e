"""Manor runs a business's servers from one file."""

__version__ = "0.1.0"
