"""Writing rows to tables: retries, repairs, range partitions and outcomes."""
