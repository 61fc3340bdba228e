CREATE TABLE measurement(id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO measurement SELECT i, printf('sensor-%02d', i % 40), (i * 7919 % 10007) / 8.0 FROM n;
COMMIT;
CREATE INDEX by_sensor ON measurement(sensor, value);
SELECT 'rows', count(*) FROM measurement;
SELECT sensor, count(*), round(avg(value), 2), max(value) FROM measurement GROUP BY sensor ORDER BY 3 DESC LIMIT 3;
DELETE FROM measurement WHERE value < 100;
VACUUM;
SELECT 'rows after deleting', count(*) FROM measurement;
PRAGMA integrity_check;
