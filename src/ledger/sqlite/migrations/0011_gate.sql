-- Who goes first inside a class of work, what operators have paused, and what the gate knows.
--
-- Rows from before this migration have neither procedure nor agency until they are mapped again: a
-- pause of one procedure or agency does not meet them, and they go last inside their class.

-- The citizen's appointed time (NgayHenTra); the end of the year 9999 when there is none.
ALTER TABLE entry ADD COLUMN appointed_at INTEGER NOT NULL DEFAULT 253402300799000;
ALTER TABLE dossier ADD COLUMN appointed_at INTEGER NOT NULL DEFAULT 253402300799000;
-- 1: the work on the dossier has ended, so no appointed time comes near any more.
ALTER TABLE entry ADD COLUMN finished INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dossier ADD COLUMN finished INTEGER NOT NULL DEFAULT 0;

ALTER TABLE dossier ADD COLUMN ma_tthc TEXT;
ALTER TABLE dossier ADD COLUMN ma_don_vi TEXT;

-- 0: waits for its time (due_at), 1: stands in line, 2: set aside by a pause of its procedure or
-- agency. A claim lets those in whose time has come, and orders the line by appointed time; so
-- neither what waits for a retry nor what is paused is read again and again. Taking work sets it to
-- 0 again.
ALTER TABLE entry ADD COLUMN line INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dossier ADD COLUMN steps_line INTEGER NOT NULL DEFAULT 0;

DROP INDEX entry_due;
CREATE INDEX entry_waits ON entry (priority, due_at) WHERE state = 'ready' AND line = 0;
CREATE INDEX entry_in_line ON entry (priority, appointed_at, due_at, id) WHERE state = 'ready' AND line = 1;
CREATE INDEX entry_set_aside ON entry (id) WHERE state = 'ready' AND line = 2;
CREATE INDEX entry_nearing ON entry (appointed_at) WHERE state = 'ready' AND priority > 2 AND finished = 0;

DROP INDEX dossier_steps_due;
CREATE INDEX dossier_steps_wait ON dossier (priority, steps_due_at)
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 0;
CREATE INDEX dossier_steps_in_line ON dossier (priority, appointed_at, steps_due_at, id)
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 1;
CREATE INDEX dossier_steps_set_aside ON dossier (id) WHERE steps_line = 2;
CREATE INDEX dossier_nearing ON dossier (appointed_at)
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND priority > 2 AND finished = 0;

-- Sending that an operator has stopped. Never deleted: it says who stopped what, when, and why.
CREATE TABLE sending_pause (
    id       INTEGER PRIMARY KEY,
    scope    TEXT NOT NULL CHECK (scope IN ('all', 'procedure', 'agency')),
    value    TEXT NOT NULL,           -- MaTTHC or the agency's code; '' for all
    actor    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    until    INTEGER,                 -- ends by itself then; NULL: until somebody resumes it
    ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX sending_pause_one_open ON sending_pause (scope, value) WHERE ended_at IS NULL;

-- What the gate's owner wrote last: what refusals taught it, and how it stands, both JSON.
CREATE TABLE gate_note (
    name TEXT PRIMARY KEY CHECK (name IN ('learned', 'status')),
    at   INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
