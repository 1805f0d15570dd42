-- A trial is entered when it is begun, with a status of its own. The rows move as they are, so their hashes hold.
CREATE TABLE trials_3 (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, family TEXT NOT NULL, space_sha256 TEXT NOT NULL, config_sha256 TEXT NOT NULL, config_json TEXT NOT NULL,
  seed INTEGER NOT NULL, rung INTEGER NOT NULL DEFAULT 0, fold INTEGER NOT NULL DEFAULT 0, data_snapshot TEXT NOT NULL, code TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('started','done','pruned','failed')), metrics_json TEXT NOT NULL, returns_path TEXT, run_id TEXT NOT NULL,
  prev_hash TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (family, config_sha256, fold, seed, data_snapshot)
);
INSERT INTO trials_3 SELECT seq, family, space_sha256, config_sha256, config_json, seed, rung, fold, data_snapshot, code, status, metrics_json, returns_path,
  run_id, prev_hash, hash FROM trials ORDER BY seq;
DROP TABLE trials;
ALTER TABLE trials_3 RENAME TO trials;
CREATE TRIGGER trials_no_update BEFORE UPDATE ON trials BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END;
CREATE TRIGGER trials_no_delete BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END;
