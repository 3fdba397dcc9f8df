-- question: Which pictures came more than once?
-- columns: image_id; images: how often it came; sources: distinct addresses; first_seen; last_seen; predicted_class: the last in the alphabet, if versions differ; file_name: likewise; pictures: how many there are in all
-- First which they are, by the beginning of the id alone: of millions of pictures, whole ids and the rest would not fit into
-- memory. Two pictures may begin alike, so the whole id has the last word.
WITH frequent AS (
  SELECT substr(image_id, 1, 12) AS beginning, count(*) AS times, count(*) OVER () AS of_all
  FROM {table}
  WHERE {where} AND image_id IS NOT NULL
  GROUP BY substr(image_id, 1, 12)
  HAVING count(*) > 1
  ORDER BY times DESC, beginning
  LIMIT {limit}
)
SELECT image_id,
       count(*) AS images,
       count(DISTINCT source_ip) AS sources,
       min(event_time) AS first_seen,
       max(event_time) AS last_seen,
       max(predicted_class) AS predicted_class,
       max(file_name) AS file_name,
       max(of_all) AS pictures
FROM {table}
JOIN frequent ON substr(image_id, 1, 12) = beginning
WHERE {where}
GROUP BY image_id
HAVING count(*) > 1
ORDER BY images DESC, image_id
LIMIT {limit}
