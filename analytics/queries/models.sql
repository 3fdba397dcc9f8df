-- question: How do the versions of the model compare?
-- columns: model_name; model_version; predicted_class; images; sure: sum of the confidences; with_confidence: how many have one; below: images under the threshold; inference_ms: sum; with_inference: how many have one; first_seen; last_seen
SELECT model_name,
       model_version,
       predicted_class,
       count(*) AS images,
       sum(CAST(confidence AS DOUBLE)) AS sure,
       count(confidence) AS with_confidence,
       count(CASE WHEN confidence < {threshold} THEN 1 END) AS below,
       sum(inference_ms) AS inference_ms,
       count(inference_ms) AS with_inference,
       min(event_time) AS first_seen,
       max(event_time) AS last_seen
FROM {table}
WHERE {where} AND model_version IS NOT NULL
GROUP BY model_name, model_version, predicted_class
ORDER BY model_name, model_version, predicted_class
