-- What keeps sending as fast with fifty million attempts kept as with none, and counts the calls of a
-- day without reading them.

-- The attempt of the same dossier before this one, 0 for none; each dossier points to its last. An
-- index over all attempts would be written at another place with every call. NULL: from before this
-- migration; only these are in the index, which shrinks with retention and never grows.
ALTER TABLE attempt ADD COLUMN previous_id INTEGER;
ALTER TABLE dossier ADD COLUMN last_attempt_id INTEGER NOT NULL DEFAULT 0;

-- Every row there is belongs into the smaller index, so only its definition is exchanged: to build it
-- anew would read every attempt.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = 'CREATE INDEX attempt_by_dossier ON attempt (dossier_id, id) WHERE previous_id IS NULL'
WHERE type = 'index' AND name = 'attempt_by_dossier';
PRAGMA writable_schema = RESET;

-- Calls by slices of five minutes, kept by whoever writes calls; complete from `call_tally_since` on.
CREATE TABLE call_tally (
    slice   INTEGER NOT NULL,        -- when it begins
    service TEXT NOT NULL,
    outcome TEXT NOT NULL,
    calls   INTEGER NOT NULL,
    items   INTEGER NOT NULL,
    PRIMARY KEY (slice, service, outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE call_tally_since (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL              -- where a slice begins
) STRICT;

-- Of what was there the last two days; who asks for more reads calls.
INSERT INTO call_tally_since (id, at)
SELECT 1, coalesce(max(0, (max(started_at) - 172800000) / 300000 * 300000), 0) FROM call;

INSERT INTO call_tally (slice, service, outcome, calls, items)
SELECT started_at / 300000 * 300000 AS slice, service, outcome, count(*), sum(items) FROM call
WHERE started_at >= (SELECT at FROM call_tally_since) GROUP BY 1, service, outcome;
