-- question: Which pictures came? Of engines that hand over numbers, as often as each came
-- columns: picture: the number that stands for it
SELECT {picture} AS picture
FROM {table}
WHERE {where} AND {picture} IS NOT NULL AND {part}
