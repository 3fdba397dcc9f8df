-- question: How long does each stage take?
-- columns: stage; bin: of the logarithm, see docs/analytics.md; images; least; most: milliseconds
-- Each stage by itself: DuckDB counts in groups of a number faster than in groups of a text and a number.
SELECT 'preprocess' AS stage, {latency_bin} AS bin, count(*) AS images, min(ms) AS least, max(ms) AS most
FROM (SELECT preprocess_ms AS ms FROM {table} WHERE {where} AND preprocess_ms IS NOT NULL) AS of_preprocess
GROUP BY {latency_bin}
UNION ALL
SELECT 'inference' AS stage, {latency_bin} AS bin, count(*) AS images, min(ms) AS least, max(ms) AS most
FROM (SELECT inference_ms AS ms FROM {table} WHERE {where} AND inference_ms IS NOT NULL) AS of_inference
GROUP BY {latency_bin}
UNION ALL
SELECT 'total' AS stage, {latency_bin} AS bin, count(*) AS images, min(ms) AS least, max(ms) AS most
FROM (SELECT total_ms AS ms FROM {table} WHERE {where} AND total_ms IS NOT NULL) AS of_total
GROUP BY {latency_bin}
ORDER BY stage, bin
