-- question: Who sends the images?
-- columns: source_ip; source_user; images; rejected; failed; confidence: mean, 0-1; last_seen: time of the newest; sources: how many there are in all
SELECT source_ip,
       source_user,
       count(*) AS images,
       sum(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS rejected,
       sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failed,
       avg(CAST(confidence AS DOUBLE)) AS confidence,
       max(event_time) AS last_seen,
       count(*) OVER () AS sources
FROM {table}
WHERE {where}
GROUP BY source_ip, source_user
ORDER BY images DESC, source_ip, source_user
LIMIT {limit}
