"""Client core of `imagewarehouse send`: finds images, posts them, counts the answers.

| module | what is in it |
| --- | --- |
| `settings.py` | where to send and how: address, access key, TLS, number of attempts |
| `items.py` | one image, and what became of it |
| `sources.py` | SOURCE arguments: files, folders, patterns, standard input; --skip and --limit |
| `tables.py` | rows of a Parquet file |
| `client.py` | one post with its retries, what its answer means, the exceptions of aiohttp in words |
| `run.py` | many posts at once; when and how a run stops |
| `state.py` | the file of --state |
| `report.py` | totals, latencies, exit code; progress and summary |
| `text.py` | errors and foreign text in one harmless line; files of lines |

Only totals are kept, so memory does not grow with the number of images; what is held at once is at most one image a
connection, the 32 that come next, and one batch of a Parquet file.

Every image gets one Idempotency-Key for all its attempts, and the service makes it the key of the row: a retry after a
lost answer overwrites the row instead of adding one. With a state file this holds across restarts too.
"""
