"""Images: formats, decoding, and preprocessing for a model."""
