CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, wizard TEXT NOT NULL, step TEXT NOT NULL DEFAULT '', visit INTEGER NOT NULL DEFAULT 0,
  kind TEXT NOT NULL CHECK (kind IN ('opened','started','done','refused','rewound','paused','closed')),
  scope TEXT NOT NULL CHECK (scope IN ('drive','host','account')), machine_id TEXT NOT NULL DEFAULT '', schema INTEGER NOT NULL,
  inputs_sha256 TEXT NOT NULL DEFAULT '', payload_json TEXT NOT NULL DEFAULT '{}', prev_hash TEXT NOT NULL, hash TEXT NOT NULL,
  at TEXT NOT NULL, host_label TEXT NOT NULL
);
CREATE INDEX idx_journal_run ON journal (run_id, seq);

CREATE TABLE order_sets (
  run_key TEXT PRIMARY KEY, order_set_hash TEXT NOT NULL, account TEXT NOT NULL, strategy TEXT NOT NULL, trading_day TEXT NOT NULL,
  rebalance_no INTEGER NOT NULL, equity REAL NOT NULL, prices_json TEXT NOT NULL, pinned_at TEXT NOT NULL, lines INTEGER NOT NULL, run_id TEXT
);
CREATE TABLE orders (
  order_id TEXT PRIMARY KEY, ts TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL CHECK (side IN ('BUY','SELL')), qty REAL NOT NULL CHECK (qty > 0),
  order_type TEXT NOT NULL CHECK (order_type IN ('MKT','LMT','STP','STP_LMT')), limit_price REAL,
  tif TEXT NOT NULL CHECK (tif IN ('DAY','IOC','FOK','GTC','OPG')), strategy_tag TEXT NOT NULL,
  run_key TEXT NOT NULL REFERENCES order_sets (run_key), line INTEGER NOT NULL, account TEXT NOT NULL, trading_day TEXT NOT NULL, symbol_id TEXT NOT NULL,
  stop_price REAL, style TEXT NOT NULL DEFAULT '', reduce_only INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL, parent TEXT, slice INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0, reference_price REAL NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL,
  state TEXT NOT NULL, state_key TEXT NOT NULL DEFAULT '', filled_qty REAL NOT NULL DEFAULT 0, broker_order_id TEXT, refusal_code TEXT, refusal_text TEXT,
  version INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX idx_orders_account ON orders (account, trading_day);
CREATE TABLE order_reports (
  source TEXT NOT NULL, report_id TEXT NOT NULL, order_id TEXT NOT NULL, broker_ts TEXT, status TEXT NOT NULL, filled_qty REAL NOT NULL DEFAULT 0,
  body_json TEXT NOT NULL, received_at TEXT NOT NULL, UNIQUE (source, report_id)
);
CREATE INDEX idx_reports_order ON order_reports (order_id, received_at);
CREATE TABLE fills (
  fill_id TEXT PRIMARY KEY, order_id TEXT NOT NULL, ts TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, qty REAL NOT NULL, price REAL NOT NULL,
  fee REAL, liquidity_flag TEXT NOT NULL DEFAULT 'UNKNOWN', kind TEXT NOT NULL DEFAULT 'fill', replaces TEXT, source TEXT NOT NULL, account TEXT NOT NULL,
  strategy_tag TEXT NOT NULL
);
CREATE INDEX idx_fills_account ON fills (account, ts);
CREATE INDEX idx_fills_order ON fills (order_id);
CREATE TABLE cash_events (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, strategy_tag TEXT NOT NULL, ts TEXT NOT NULL, kind TEXT NOT NULL, symbol TEXT, qty REAL, amount REAL NOT NULL,
  reason TEXT NOT NULL, operator TEXT
);
CREATE TABLE snapshots (
  account TEXT NOT NULL, ts TEXT NOT NULL, equity REAL NOT NULL, cash REAL NOT NULL, positions_json TEXT NOT NULL, open_orders_json TEXT NOT NULL,
  log_hash TEXT NOT NULL, PRIMARY KEY (account, ts)
);
CREATE TABLE switches (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL CHECK (name IN ('kill_switch','circuit_breaker')), account TEXT NOT NULL, state TEXT NOT NULL,
  reason TEXT NOT NULL, operator TEXT NOT NULL, generation INTEGER NOT NULL, at TEXT NOT NULL
);
CREATE TABLE quarantine (
  key TEXT NOT NULL, symbol TEXT NOT NULL, since TEXT NOT NULL, reason TEXT NOT NULL, released_at TEXT, released_by TEXT, release_reason TEXT,
  PRIMARY KEY (key, since)
);
CREATE TABLE orphan_orders (broker_order_id TEXT PRIMARY KEY, body_json TEXT NOT NULL, seen_at TEXT NOT NULL, settled_at TEXT);
CREATE TABLE consents (
  id TEXT PRIMARY KEY, gate TEXT NOT NULL, account TEXT NOT NULL, trading_day TEXT NOT NULL, shown_sha256 TEXT NOT NULL, token_sha256 TEXT NOT NULL,
  limits_json TEXT NOT NULL, granted_at TEXT NOT NULL, run_id TEXT NOT NULL, used_at TEXT
);
CREATE TABLE reconciles (id TEXT PRIMARY KEY, started_at TEXT NOT NULL, ok INTEGER NOT NULL, differences_json TEXT NOT NULL);
