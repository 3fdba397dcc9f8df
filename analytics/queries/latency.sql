-- question: How long does each stage take?
-- columns: stage; bin: of the logarithm, see docs/analytics.md; images; least; most: milliseconds
SELECT stage, bin, count(*) AS images, min(ms) AS least, max(ms) AS most
FROM (
  SELECT stage, ms, CASE WHEN ms < 0.001 THEN -1 ELSE {latency_bin} END AS bin
  FROM (
    SELECT 'preprocess' AS stage, preprocess_ms AS ms FROM {table} WHERE {where} AND preprocess_ms IS NOT NULL
    UNION ALL
    SELECT 'inference' AS stage, inference_ms AS ms FROM {table} WHERE {where} AND inference_ms IS NOT NULL
    UNION ALL
    SELECT 'total' AS stage, total_ms AS ms FROM {table} WHERE {where} AND total_ms IS NOT NULL
  ) AS stages
) AS binned
GROUP BY stage, bin
ORDER BY stage, bin
