"""How the bundled models are made. Nothing here is imported by the processors."""
