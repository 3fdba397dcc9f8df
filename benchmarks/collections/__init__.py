"""Real image files through the check, held against an independent decoder."""
