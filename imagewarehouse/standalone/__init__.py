"""A second host for the same flow definition and the same processors, without a JVM."""
