"""Client core of `imagewarehouse send`: finds images, posts them, counts the answers.

| module | what is in it |
| --- | --- |
| `settings.py` | where to send and how: address, access key, TLS, number of attempts |
| `sources.py` | SOURCE arguments: files, folders, patterns, standard input; --skip, --limit |
| `tables.py` | rows of a Parquet file |
| `items.py` | one image to send, and what could not be read |
| `client.py` | one post with its retries; the exceptions of aiohttp in words |
| `answers.py` | what an answer says about its image |
| `run.py` | many posts at once; when and how a run stops |
| `state.py` | the file of --state |
| `tally.py` | totals, latencies, exit code |
| `report.py` | progress and summary |
| `text.py` | errors and foreign text in one harmless line; lines written to a file |

Only aggregates are kept, so memory does not grow with the number of images; what is held at once is at most one image a
connection, a few that come next, and one batch of a Parquet file.

Every image gets one Idempotency-Key for all its attempts, and the service makes it the key of the row: a retry after a
lost answer overwrites the row instead of adding one. With a state file this holds across restarts too.
"""
