-- question: How many images came, from how many places, and what became of them?
-- columns: images; accepted; rejected; classified; failed; pictures: distinct ones; sources: distinct addresses; bytes; sure: sum of the confidences; with_confidence: how many have one
-- Pictures apart: counting distinct texts beside other figures takes DuckDB twice the time.
SELECT images, accepted, rejected, classified, failed, pictures, sources, bytes, sure, with_confidence
FROM (
  SELECT count(*) AS images,
         sum(CASE WHEN status = 'accepted' THEN 1 ELSE 0 END) AS accepted,
         sum(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS rejected,
         sum(CASE WHEN status = 'classified' THEN 1 ELSE 0 END) AS classified,
         sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failed,
         count(DISTINCT source_ip) AS sources,
         sum(size_bytes) AS bytes,
         sum(CAST(confidence AS DOUBLE)) AS sure,
         count(confidence) AS with_confidence
  FROM {table}
  WHERE {where}
) AS counted
CROSS JOIN (
  SELECT {pictures} AS pictures
  FROM {table}
  WHERE {where} AND image_id IS NOT NULL
) AS seen
