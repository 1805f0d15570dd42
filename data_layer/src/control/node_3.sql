-- What the last audit had seen. Losing it costs one full audit.
CREATE TABLE IF NOT EXISTS audited_manifests (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audited_symbols (symbol TEXT PRIMARY KEY, facts_sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audited_symbols_minute (symbol TEXT PRIMARY KEY, facts_sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audited_answers (dataset TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;

-- What the rows of a table, symbol and key looked like in a window when an audit had written them.
CREATE TABLE ledger_digests (
  table_name TEXT NOT NULL, symbol TEXT NOT NULL, partition_key TEXT NOT NULL, first TEXT NOT NULL, until TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (table_name, symbol, partition_key, first, until)
) WITHOUT ROWID;

-- The doubtful and the missing are few: they are found without a look at the others.
CREATE INDEX idx_partition_status_trouble ON partition_status (table_name, dt) WHERE status <> 'GREEN';
