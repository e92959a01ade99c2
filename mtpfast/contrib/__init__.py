"""Bridges to other packages: each imports its own only when it is used."""
