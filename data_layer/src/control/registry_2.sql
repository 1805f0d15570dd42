-- The dark holdout of a family: set aside once, opened once.
CREATE TABLE holdout_seals (family TEXT PRIMARY KEY, window_start TEXT NOT NULL, window_end TEXT NOT NULL, asof TEXT NOT NULL, run_id TEXT NOT NULL);
CREATE TRIGGER holdout_seals_no_update BEFORE UPDATE ON holdout_seals BEGIN SELECT RAISE(ABORT, 'a holdout is sealed once'); END;
CREATE TRIGGER holdout_seals_no_delete BEFORE DELETE ON holdout_seals BEGIN SELECT RAISE(ABORT, 'a holdout is sealed once'); END;
CREATE TRIGGER holdouts_no_update BEFORE UPDATE ON holdouts BEGIN SELECT RAISE(ABORT, 'a holdout is opened once'); END;
CREATE TRIGGER holdouts_no_delete BEFORE DELETE ON holdouts BEGIN SELECT RAISE(ABORT, 'a holdout is opened once'); END;
