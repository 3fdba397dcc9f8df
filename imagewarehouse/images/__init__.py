"""Pictures: formats and where they end, decoding, and the numbers that a model takes."""
