-- The broker's cash less what the journal's rows moved, where a run could compare it: it stands still as long as both book the same.
ALTER TABLE reconciles ADD COLUMN unbooked_cash REAL;
