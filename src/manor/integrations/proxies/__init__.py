"""Tiers of the chain: products that accept requests and pass them on."""
