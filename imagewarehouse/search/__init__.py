"""Where documents for searching are."""
