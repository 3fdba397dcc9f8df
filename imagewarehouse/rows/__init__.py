"""Where image records are: the stores of rows, and the commit that tasks share."""
