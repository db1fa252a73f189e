"""All that is a vendor's: one folder a kind with its contract in base.py, one folder a product in it."""
