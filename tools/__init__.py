"""Tools that build, check and document this project."""
