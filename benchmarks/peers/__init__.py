"""Throughput and latency of /classify beside model servers that hold the same model: `python -m benchmarks.peers --help`."""
