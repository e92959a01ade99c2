"""The convex programs behind the fractional minimum."""
