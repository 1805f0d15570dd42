CREATE TABLE backfill_queue (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  dataset TEXT NOT NULL, symbol TEXT NOT NULL DEFAULT '', start_date TEXT NOT NULL, end_date TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('BOOTSTRAP','GAP','FORWARD','QC_PROBE')),
  priority INTEGER NOT NULL,
  status TEXT NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING','LEASED','DONE','FAILED')),
  attempts INTEGER NOT NULL DEFAULT 0,
  lease_owner TEXT, lease_expires_at TEXT, next_not_before TEXT, last_error TEXT,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  vendor TEXT NOT NULL DEFAULT '', lease_token INTEGER NOT NULL DEFAULT 0, lease_boot TEXT, lease_pid INTEGER, run_id TEXT, outcome TEXT,
  UNIQUE (dataset, symbol, start_date, end_date, kind),
  CHECK (start_date < end_date)
);
CREATE INDEX idx_backfill_queue_status ON backfill_queue (status, priority, created_at);
CREATE INDEX idx_backfill_queue_vendor ON backfill_queue (vendor, status, priority, created_at, id);

CREATE TABLE partition_status (
  id TEXT NOT NULL,
  source_name TEXT NOT NULL, table_name TEXT NOT NULL, symbol TEXT NOT NULL DEFAULT '', dt TEXT NOT NULL DEFAULT '', partition_key TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL CHECK (status IN ('GREEN','AMBER','RED')),
  qc_score REAL, row_count INTEGER NOT NULL DEFAULT 0, expected_rows INTEGER, qc_code TEXT,
  first_observed_at TEXT, last_observed_at TEXT,
  PRIMARY KEY (source_name, table_name, symbol, dt, partition_key)
) WITHOUT ROWID;
CREATE INDEX idx_partition_status_table ON partition_status (table_name, dt, status);

CREATE TABLE pipeline_runs (
  id TEXT PRIMARY KEY, pipeline_name TEXT NOT NULL, params_json TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('RUNNING','FAILED','SUCCEEDED','CANCELLED')),
  started_at TEXT NOT NULL, finished_at TEXT, metrics_json TEXT, artifact_uri TEXT
);

CREATE TABLE budget_spend (
  vendor TEXT NOT NULL, window TEXT NOT NULL, window_start TEXT NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0, cap INTEGER, learned_cap INTEGER, learned_on TEXT,
  remote_limited INTEGER NOT NULL DEFAULT 0, local_blocked INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (vendor, window, window_start)
);
CREATE TABLE budget_symbols (vendor TEXT NOT NULL, month TEXT NOT NULL, symbol TEXT NOT NULL, PRIMARY KEY (vendor, month, symbol));
CREATE TABLE vendor_state (vendor TEXT PRIMARY KEY, frozen_until TEXT, reason TEXT, updated_at TEXT NOT NULL);

CREATE TABLE bookmarks (
  vendor TEXT NOT NULL, dataset TEXT NOT NULL, symbol TEXT NOT NULL DEFAULT '', start_date TEXT NOT NULL, end_date TEXT NOT NULL,
  cursor TEXT, pages INTEGER NOT NULL DEFAULT 0, rows INTEGER NOT NULL DEFAULT 0, complete INTEGER NOT NULL DEFAULT 0, updated_at TEXT NOT NULL,
  PRIMARY KEY (vendor, dataset, symbol, start_date, end_date)
);
CREATE TABLE entitlements (
  vendor TEXT NOT NULL, dataset TEXT NOT NULL, lane TEXT NOT NULL,
  doc_status TEXT NOT NULL, live_status TEXT NOT NULL, enable_status TEXT NOT NULL, evidence_json TEXT NOT NULL DEFAULT '{}', checked_at TEXT,
  PRIMARY KEY (vendor, dataset, lane)
);
CREATE TABLE segments (
  path TEXT PRIMARY KEY, table_name TEXT NOT NULL, source_name TEXT NOT NULL, partition_key TEXT NOT NULL,
  t0 TEXT NOT NULL, t1 TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, manifest TEXT NOT NULL
);
CREATE INDEX idx_segments_table ON segments (table_name, partition_key, t0);
CREATE TABLE heartbeats (loop TEXT PRIMARY KEY, at TEXT NOT NULL, boot_id TEXT NOT NULL, detail_json TEXT NOT NULL DEFAULT '{}');
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL DEFAULT 0);
