"""Policies, and the ledger that holds them."""
