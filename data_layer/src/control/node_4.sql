-- The ledger by blocks: the days of one source, table, symbol and key in one quarter of a year are one row, and equal verdicts
-- are told once. An audit writes some sixty days at a time, and its indexes hold blocks instead of days.
CREATE TABLE ledger_blocks (
  id INTEGER PRIMARY KEY,
  source_name TEXT NOT NULL, table_name TEXT NOT NULL, symbol TEXT NOT NULL, quarter INTEGER NOT NULL, partition_key TEXT NOT NULL,  -- quarter: 20172
  first TEXT NOT NULL, last TEXT NOT NULL,  -- its days, both included
  troubled INTEGER NOT NULL,                -- how many of its days are not GREEN
  days TEXT NOT NULL,                       -- [[days since 1970-01-01, index into verdicts], ...] in order of the day
  verdicts TEXT NOT NULL,                   -- [[status, qc_code, qc_score, row_count, expected_rows, first_observed_at, last_observed_at], ...]
  uuids BLOB NOT NULL,                      -- 16 bytes a day: UUIDv5 of the day's unique key
  UNIQUE (source_name, table_name, symbol, quarter, partition_key)
);
CREATE INDEX idx_ledger_blocks_days ON ledger_blocks (table_name, quarter, first, last);
CREATE INDEX idx_ledger_blocks_trouble ON ledger_blocks (table_name, quarter) WHERE troubled > 0;

CREATE TEMP TABLE old_days AS
  SELECT *, dense_rank() OVER (PARTITION BY source_name, table_name, symbol, quarter, partition_key ORDER BY verdict) - 1 AS place FROM (
    SELECT source_name, table_name, symbol, partition_key, dt, id, status, substr(dt, 1, 4) * 10 + (substr(dt, 6, 2) + 2) / 3 AS quarter,
      json_array(status, ifnull(qc_code, ''), ifnull(qc_score, 0.0), row_count, expected_rows, first_observed_at, last_observed_at) AS verdict
    FROM partition_status);
CREATE INDEX temp.old_days_in_order ON old_days (source_name, table_name, symbol, quarter, partition_key, dt);
INSERT INTO ledger_blocks (source_name, table_name, symbol, quarter, partition_key, first, last, troubled, days, verdicts, uuids)
  SELECT source_name, table_name, symbol, quarter, partition_key, min(dt), max(dt), sum(status <> 'GREEN'),
    json_group_array(json_array(unixepoch(dt) / 86400, place)),
    (SELECT json_group_array(json(verdict)) FROM (SELECT DISTINCT o.place, o.verdict FROM old_days o WHERE o.source_name = b.source_name
       AND o.table_name = b.table_name AND o.symbol = b.symbol AND o.quarter = b.quarter AND o.partition_key = b.partition_key ORDER BY o.place)),
    coalesce(unhex(group_concat(replace(id, '-', ''), '')), zeroblob(16 * count(*)))
  FROM old_days b INDEXED BY old_days_in_order GROUP BY source_name, table_name, symbol, quarter, partition_key;
DROP TABLE old_days;
DROP TABLE partition_status;

-- One row a day, for whoever reads the ledger with any SQLite.
CREATE VIEW partition_status AS
  SELECT lower(substr(uuid, 1, 8) || '-' || substr(uuid, 9, 4) || '-' || substr(uuid, 13, 4) || '-' || substr(uuid, 17, 4) || '-' || substr(uuid, 21)) AS id,
    source_name, table_name, symbol, date(day * 86400, 'unixepoch') AS dt, partition_key, json_extract(verdict, '$[0]') AS status,
    json_extract(verdict, '$[2]') AS qc_score, json_extract(verdict, '$[3]') AS row_count, json_extract(verdict, '$[4]') AS expected_rows,
    json_extract(verdict, '$[1]') AS qc_code, json_extract(verdict, '$[5]') AS first_observed_at, json_extract(verdict, '$[6]') AS last_observed_at,
    block, place
  FROM (
    SELECT b.source_name, b.table_name, b.symbol, b.partition_key, b.id AS block, d.key AS place, json_extract(d.value, '$[0]') AS day,
      hex(substr(b.uuids, 16 * d.key + 1, 16)) AS uuid, json_extract(b.verdicts, '$[' || json_extract(d.value, '$[1]') || ']') AS verdict
    FROM ledger_blocks b, json_each(b.days) d
  );
-- A verdict can be changed through it as well; the digest of its series then tells that no audit did.
CREATE TRIGGER partition_status_update INSTEAD OF UPDATE ON partition_status BEGIN
  UPDATE ledger_blocks SET
      troubled = troubled - (old.status <> 'GREEN') + (new.status <> 'GREEN'),
      days = json_set(days, '$[' || old.place || '][1]', json_array_length(verdicts)),
      verdicts = json_insert(verdicts, '$[#]', json_array(new.status, new.qc_code, new.qc_score, new.row_count, new.expected_rows, new.first_observed_at,
        new.last_observed_at))
    WHERE id = old.block;
  UPDATE ledger_counts SET partitions = partitions - 1
    WHERE table_name = old.table_name AND partition_key = old.partition_key AND status = old.status AND qc_code = ifnull(old.qc_code, '');
  INSERT INTO ledger_counts VALUES (old.table_name, old.partition_key, new.status, ifnull(new.qc_code, ''), 1)
    ON CONFLICT DO UPDATE SET partitions = partitions + 1;
END;
