-- question: How many images came when, of which class?
-- columns: slot: quarters of an hour since 1970, or hours or days of UTC where the chart's columns begin with one; status; predicted_class; images
SELECT {slot} AS slot,
       status,
       predicted_class,
       count(*) AS images
FROM {table}
WHERE {where}
GROUP BY {slot}, status, predicted_class
ORDER BY slot, status, predicted_class
