-- question: Which classes does each version of the model see?
-- columns: model_name; model_version; predicted_class; images
SELECT model_name, model_version, predicted_class, count(*) AS images
FROM {table}
WHERE {where} AND predicted_class IS NOT NULL
GROUP BY model_name, model_version, predicted_class
ORDER BY model_name, model_version, images DESC, predicted_class
