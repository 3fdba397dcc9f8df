-- question: Which pictures came most often? By the beginning of the id alone
-- columns: picture: what stands for it; images: how often it came; pictures: how many there are in all
SELECT {picture} AS picture,
       count(*) AS images,
       count(*) OVER () AS pictures
FROM {table}
WHERE {where} AND image_id IS NOT NULL
GROUP BY {picture}
HAVING count(*) > 1
ORDER BY images DESC, picture
LIMIT {limit}
