-- question: Which objects were seen, and how sure was the model?
-- columns: predicted_class; bin: of the confidence, as in confidence.sql; images
SELECT predicted_class, bin, count(*) AS images
FROM (
  SELECT predicted_class, CASE WHEN confidence >= 1 THEN 19 ELSE {confidence_bin} END AS bin
  FROM {table}
  WHERE {where} AND (predicted_class IS NOT NULL OR confidence IS NOT NULL)
) AS binned
GROUP BY predicted_class, bin
ORDER BY predicted_class, bin
