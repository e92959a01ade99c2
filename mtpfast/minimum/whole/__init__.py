"""Whole points from the fractional minimum."""
