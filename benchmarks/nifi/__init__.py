"""The deployed flow in a real NiFi, against the two designs that a user would otherwise have."""
