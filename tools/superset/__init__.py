"""`python -m tools.superset`: dashboards for Apache Superset, as its own exports are written, for DuckDB, Impala and Trino."""
