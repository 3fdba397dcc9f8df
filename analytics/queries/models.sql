-- question: How do the versions of the model compare?
-- columns: model_name; model_version; images; confidence: mean, 0-1; below: images under the threshold; inference_ms: mean; first_seen; last_seen
SELECT model_name,
       model_version,
       count(*) AS images,
       avg(CAST(confidence AS DOUBLE)) AS confidence,
       sum(CASE WHEN confidence < {threshold} THEN 1 ELSE 0 END) AS below,
       avg(inference_ms) AS inference_ms,
       min(event_time) AS first_seen,
       max(event_time) AS last_seen
FROM {table}
WHERE {where} AND model_version IS NOT NULL
GROUP BY model_name, model_version
ORDER BY last_seen DESC, model_name, model_version
