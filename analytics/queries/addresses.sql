-- question: Which addresses sent something?
-- columns: source_ip
SELECT DISTINCT source_ip
FROM {table}
WHERE {where} AND source_ip IS NOT NULL
