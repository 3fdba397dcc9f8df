"""Apache Kudu: tables, batches of rows, and the clients that write them."""
