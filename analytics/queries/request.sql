-- question: What is known of one request?
-- columns: event_time; request_id; status; error_code; error_detail; image_id; file_name; declared_type; fields: JSON; format; size_bytes; width: pixels; height: pixels; color_mode; frames; notes: JSON; source_ip; source_user; gps_latitude: degrees; gps_longitude: degrees; storage_uri; predicted_class; confidence: 0-1; top_k: JSON; model_name; model_version; preprocess_ms; inference_ms; total_ms: milliseconds; node
SELECT event_time, request_id, status, error_code, error_detail, image_id, file_name, declared_type, {fields}, {format},
       size_bytes, width, height, color_mode, frames, notes, source_ip, source_user, gps_latitude, gps_longitude,
       storage_uri, predicted_class, confidence, top_k, model_name, model_version, preprocess_ms, inference_ms, total_ms,
       node
FROM {table}
WHERE {where} AND request_id = {request_id}
LIMIT 1
