"""From the content of a FlowFile to the columns of a table."""
