-- question: Why were requests rejected, or why did they fail?
-- columns: status; error_code; images; sources: distinct addresses
SELECT status,
       error_code,
       count(*) AS images,
       count(DISTINCT source_ip) AS sources
FROM {table}
WHERE {where} AND status IN ('rejected', 'failed')
GROUP BY status, error_code
ORDER BY images DESC, status, error_code
