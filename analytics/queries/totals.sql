-- question: How many images came, from how many places, and what became of them?
-- columns: images; accepted; rejected; classified; failed; sources: distinct addresses; bytes; sure: sum of the confidences; with_confidence: how many have one
-- By status first, and addresses apart: so it takes DuckDB less than half of the time.
SELECT images, accepted, rejected, classified, failed, sources, bytes, sure, with_confidence
FROM (
  SELECT sum(rows_of_it) AS images,
         sum(CASE WHEN status = 'accepted' THEN rows_of_it ELSE 0 END) AS accepted,
         sum(CASE WHEN status = 'rejected' THEN rows_of_it ELSE 0 END) AS rejected,
         sum(CASE WHEN status = 'classified' THEN rows_of_it ELSE 0 END) AS classified,
         sum(CASE WHEN status = 'failed' THEN rows_of_it ELSE 0 END) AS failed,
         sum(bytes_of_it) AS bytes,
         sum(sure_of_it) AS sure,
         sum(with_one) AS with_confidence
  FROM (
    SELECT status,
           count(*) AS rows_of_it,
           sum(size_bytes) AS bytes_of_it,
           sum(CAST(confidence AS DOUBLE)) AS sure_of_it,
           count(confidence) AS with_one
    FROM {table}
    WHERE {where}
    GROUP BY status
  ) AS by_status
) AS counted
CROSS JOIN (
  SELECT count(DISTINCT source_ip) AS sources
  FROM {table}
  WHERE {where}
) AS seen
