"""Rows on their way into tables: which ones, how often, and what became of them."""
