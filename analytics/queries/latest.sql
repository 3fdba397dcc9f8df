-- question: What came last?
-- columns: event_time; request_id; status; error_code; error_detail; image_id; file_name; format; width; height; size_bytes; source_ip; source_user; predicted_class; confidence: 0-1; model_name; model_version; total_ms: milliseconds
SELECT event_time, request_id, status, error_code, error_detail, image_id, file_name, {format}, width, height, size_bytes,
       source_ip, source_user, predicted_class, confidence, model_name, model_version, total_ms
FROM {table}
WHERE {where} AND {page}
ORDER BY event_time DESC, request_id DESC
LIMIT {limit}
