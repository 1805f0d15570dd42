-- Leasing takes the first due row: one index in exactly that order, one for the rows that go with it, both over waiting rows only.
DROP INDEX idx_backfill_queue_vendor;
CREATE INDEX idx_queue_due ON backfill_queue (vendor, (kind <> 'FORWARD'), priority, created_at, id) WHERE status = 'PENDING';
CREATE INDEX idx_queue_batch ON backfill_queue (vendor, dataset, kind, start_date, end_date, priority, created_at, id) WHERE status = 'PENDING';
CREATE INDEX idx_queue_leased ON backfill_queue (lease_boot, lease_owner, lease_pid, lease_expires_at) WHERE status = 'LEASED';

-- Counts, kept by the transaction that changes what is counted: where a drive stands is read in a few rows, however many it holds.
CREATE TABLE queue_counts (
  dataset TEXT NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL, tasks INTEGER NOT NULL, PRIMARY KEY (dataset, kind, status)
) WITHOUT ROWID;
INSERT INTO queue_counts SELECT dataset, kind, status, count(*) FROM backfill_queue GROUP BY 1, 2, 3;
CREATE TRIGGER queue_counts_insert AFTER INSERT ON backfill_queue BEGIN
  INSERT INTO queue_counts VALUES (new.dataset, new.kind, new.status, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER queue_counts_update AFTER UPDATE OF dataset, kind, status ON backfill_queue
  WHEN old.status <> new.status OR old.kind <> new.kind OR old.dataset <> new.dataset BEGIN
  UPDATE queue_counts SET tasks = tasks - 1 WHERE dataset = old.dataset AND kind = old.kind AND status = old.status;
  INSERT INTO queue_counts VALUES (new.dataset, new.kind, new.status, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER queue_counts_delete AFTER DELETE ON backfill_queue BEGIN
  UPDATE queue_counts SET tasks = tasks - 1 WHERE dataset = old.dataset AND kind = old.kind AND status = old.status;
END;

CREATE TABLE ledger_counts (
  table_name TEXT NOT NULL, partition_key TEXT NOT NULL, status TEXT NOT NULL, qc_code TEXT NOT NULL, partitions INTEGER NOT NULL,
  PRIMARY KEY (table_name, partition_key, status, qc_code)
) WITHOUT ROWID;
INSERT INTO ledger_counts SELECT table_name, partition_key, status, ifnull(qc_code, ''), count(*) FROM partition_status GROUP BY 1, 2, 3, 4;
CREATE TRIGGER ledger_counts_insert AFTER INSERT ON partition_status BEGIN
  INSERT INTO ledger_counts VALUES (new.table_name, new.partition_key, new.status, ifnull(new.qc_code, ''), 1)
    ON CONFLICT DO UPDATE SET partitions = partitions + 1;
END;
CREATE TRIGGER ledger_counts_update AFTER UPDATE OF status, qc_code ON partition_status WHEN old.status <> new.status OR old.qc_code IS NOT new.qc_code BEGIN
  UPDATE ledger_counts SET partitions = partitions - 1
    WHERE table_name = old.table_name AND partition_key = old.partition_key AND status = old.status AND qc_code = ifnull(old.qc_code, '');
  INSERT INTO ledger_counts VALUES (new.table_name, new.partition_key, new.status, ifnull(new.qc_code, ''), 1)
    ON CONFLICT DO UPDATE SET partitions = partitions + 1;
END;
CREATE TRIGGER ledger_counts_delete AFTER DELETE ON partition_status BEGIN
  UPDATE ledger_counts SET partitions = partitions - 1
    WHERE table_name = old.table_name AND partition_key = old.partition_key AND status = old.status AND qc_code = ifnull(old.qc_code, '');
END;
