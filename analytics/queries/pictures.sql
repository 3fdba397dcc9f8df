-- question: How many different pictures came?
-- columns: pictures: distinct ones
SELECT {pictures} AS pictures
FROM {table}
WHERE {where} AND image_id IS NOT NULL
