-- question: Which objects were seen most often, and how sure was the model of them?
-- columns: predicted_class; images; confidence: mean, 0-1
SELECT predicted_class,
       count(*) AS images,
       avg(CAST(confidence AS DOUBLE)) AS confidence
FROM {table}
WHERE {where} AND predicted_class IS NOT NULL
GROUP BY predicted_class
ORDER BY images DESC, predicted_class
