-- question: How many images came with a picture? Of engines that hand over numbers
-- columns: images
SELECT count({picture}) AS images
FROM {table}
WHERE {where}
