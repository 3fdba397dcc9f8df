-- question: How many images came, from how many places, and what became of them?
-- columns: images; accepted; rejected; classified; failed; pictures: distinct ones; sources: distinct addresses; bytes; sure: sum of the confidences; with_confidence: how many have one
SELECT count(*) AS images,
       sum(CASE WHEN status = 'accepted' THEN 1 ELSE 0 END) AS accepted,
       sum(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS rejected,
       sum(CASE WHEN status = 'classified' THEN 1 ELSE 0 END) AS classified,
       sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failed,
       count(DISTINCT image_id) AS pictures,
       count(DISTINCT source_ip) AS sources,
       sum(size_bytes) AS bytes,
       sum(CAST(confidence AS DOUBLE)) AS sure,
       count(confidence) AS with_confidence
FROM {table}
WHERE {where}
