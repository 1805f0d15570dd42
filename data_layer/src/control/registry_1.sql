CREATE TABLE models (
  strategy TEXT NOT NULL, version TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
  stage TEXT NOT NULL CHECK (stage IN ('candidate','challenger','shadow','champion','retired','rejected')),
  family TEXT NOT NULL, metrics_json TEXT NOT NULL, config_json TEXT NOT NULL, data_snapshot TEXT NOT NULL, run_id TEXT NOT NULL,
  created_at TEXT NOT NULL, activated_at TEXT, deactivated_at TEXT, UNIQUE (strategy, version)
);
CREATE UNIQUE INDEX one_champion ON models (strategy) WHERE stage = 'champion';
CREATE TABLE model_events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, strategy TEXT NOT NULL, version TEXT NOT NULL, from_stage TEXT, to_stage TEXT NOT NULL, rule TEXT NOT NULL,
  verdict_json TEXT NOT NULL, applied INTEGER NOT NULL, operator TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE shadow_days (
  strategy TEXT NOT NULL, version TEXT NOT NULL, session TEXT NOT NULL, weights_sha256 TEXT NOT NULL, gross_return REAL, net_return REAL, turnover REAL,
  inputs_sha256 TEXT NOT NULL, UNIQUE (strategy, version, session)
);
CREATE TABLE trials (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, family TEXT NOT NULL, space_sha256 TEXT NOT NULL, config_sha256 TEXT NOT NULL, config_json TEXT NOT NULL,
  seed INTEGER NOT NULL, rung INTEGER NOT NULL DEFAULT 0, fold INTEGER NOT NULL DEFAULT 0, data_snapshot TEXT NOT NULL, code TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('done','pruned','failed')), metrics_json TEXT NOT NULL, returns_path TEXT, run_id TEXT NOT NULL,
  prev_hash TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (family, config_sha256, fold, seed, data_snapshot)
);
CREATE TABLE holdouts (family TEXT PRIMARY KEY, opened_at TEXT NOT NULL, run_id TEXT NOT NULL, result_json TEXT NOT NULL);
CREATE TABLE mlflow_outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, call TEXT NOT NULL, body_json TEXT NOT NULL, sent_at TEXT, answer_json TEXT);
