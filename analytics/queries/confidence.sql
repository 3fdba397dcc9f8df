-- question: How sure was the model?
-- columns: bin: of 20, 0 for 0.00 up to 0.05, 19 for 0.95 to 1.00; images; below: of these, under the threshold
SELECT bin, count(*) AS images, count(below) AS below
FROM (
  SELECT CASE WHEN confidence >= 1 THEN 19 ELSE {confidence_bin} END AS bin,
         CASE WHEN confidence < {threshold} THEN 1 END AS below
  FROM {table}
  WHERE {where} AND confidence IS NOT NULL
) AS binned
GROUP BY bin
ORDER BY bin
