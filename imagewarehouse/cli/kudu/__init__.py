"""What the commands of `imagewarehouse table` do; their options are in `cli/table.py`.

| module | what is in it |
| --- | --- |
| `connection.py` | which Kudu is meant, whether it answers, its errors in one line |
| `create.py` | make a table, or compare the one that is there |
| `show.py` | list tables; columns, partitions and rows of one |
| `partitions.py` | list, add and drop range partitions |
| `compact_check.py` | what an operator should do about a table |
| `tablets.py` | tablets as the web pages of Kudu's servers tell of them |
| `ranges.py` | ranges of time: as options name them, as the table has them, as people read them |
| `printing.py` | columns, numbers and sizes |
"""
