-- question: Which pictures came more than once?
-- columns: image_id; images: how often it came; sources: distinct addresses; first_seen; last_seen; predicted_class: the last in the alphabet, if versions differ; file_name: likewise
-- Of the frequent ones alone: of millions of pictures, whole ids and the rest would not fit into memory. Two pictures may share
-- what stands for them, so the whole id has the last word.
SELECT image_id,
       count(*) AS images,
       count(DISTINCT source_ip) AS sources,
       min(event_time) AS first_seen,
       max(event_time) AS last_seen,
       max(predicted_class) AS predicted_class,
       max(file_name) AS file_name
FROM {table}
WHERE {where} AND {one_of_them}
GROUP BY image_id
HAVING count(*) > 1
ORDER BY images DESC, image_id
LIMIT {limit}
