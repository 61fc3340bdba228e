-- The main job: 100,000 rows inserted, queried, updated, vacuumed.
PRAGMA page_size=4096;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL, tag TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 100000)
INSERT INTO item SELECT i, 'item number ' || i, (i * 7919 % 10007) / 8.0, 'tag' || (i % 97) FROM n;
COMMIT;
CREATE INDEX item_tag ON item(tag, amount);
SELECT count(*), sum(amount), min(name), max(name) FROM item;
SELECT tag, count(*), round(avg(amount), 3) FROM item GROUP BY tag ORDER BY 3 DESC LIMIT 5;
UPDATE item SET amount = amount + 1 WHERE tag = 'tag13';
DELETE FROM item WHERE id % 10 = 3;
SELECT count(*), sum(amount) FROM item;
SELECT name FROM item WHERE tag = 'tag42' ORDER BY amount DESC, id LIMIT 3;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(length(name)) FROM item;
