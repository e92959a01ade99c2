"""Raw tables and texts, there and back."""
