-- A verdict that is changed through the view is one that can be read again: what the column checks of the old table said.
CREATE TRIGGER partition_status_check INSTEAD OF UPDATE ON partition_status
  WHEN new.status IS NULL OR new.status NOT IN ('GREEN', 'AMBER', 'RED')
    OR typeof(new.qc_code) NOT IN ('text', 'null')
    OR typeof(new.qc_score) NOT IN ('real', 'integer', 'null') OR abs(new.qc_score) > 1e300
    OR typeof(new.row_count) <> 'integer' OR new.row_count < 0
    OR typeof(new.expected_rows) NOT IN ('integer', 'null') OR new.expected_rows < 0
    OR (new.first_observed_at IS NOT NULL AND NOT coalesce(new.first_observed_at GLOB '????-??-??T??:??:??*Z'
      AND strftime('%Y-%m-%dT%H:%M:%S', new.first_observed_at) = substr(new.first_observed_at, 1, 19), 0))
    OR (new.last_observed_at IS NOT NULL AND NOT coalesce(new.last_observed_at GLOB '????-??-??T??:??:??*Z'
      AND strftime('%Y-%m-%dT%H:%M:%S', new.last_observed_at) = substr(new.last_observed_at, 1, 19), 0))
BEGIN
  SELECT raise(ABORT, 'not a verdict: status GREEN, AMBER or RED, a text, counts of rows, moments as 2017-07-01T20:15:00.000000Z');
END;

-- New tasks are counted by the one statement that puts them in, once for each dataset and kind: a trigger cost twice as much as the
-- rows themselves.
DROP TRIGGER queue_counts_insert;
