"""Benchmarks: run by hand, never by the tests. Each measures against a peer or a limit in the same run."""
