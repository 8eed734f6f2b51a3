-- What one dossier's past needs that its rows do not say by themselves.

-- When it was mapped last.
ALTER TABLE entry ADD COLUMN mapped_at INTEGER;

-- What an entry was while it waited for a person (or for the portal's word), kept when something
-- else takes its place in the row: whoever puts it back must not erase why it stood there.
CREATE TABLE entry_past (
    id           INTEGER PRIMARY KEY,
    entry_id     INTEGER NOT NULL REFERENCES entry (id),
    state        TEXT NOT NULL,
    since        INTEGER NOT NULL,
    until        INTEGER NOT NULL,
    failure      TEXT,
    failure_code TEXT,
    diagnostics  TEXT
) STRICT;
CREATE INDEX entry_past_by_entry ON entry_past (entry_id);

-- In the file and not in the program, so that no verb can forget it.
CREATE TRIGGER entry_past_kept AFTER UPDATE OF state ON entry
WHEN OLD.state IN ('quarantined', 'dead', 'awaiting') AND NEW.state <> OLD.state
BEGIN
    INSERT INTO entry_past (entry_id, state, since, until, failure, failure_code, diagnostics)
    VALUES (OLD.id, OLD.state, OLD.changed_at, NEW.changed_at, OLD.failure, OLD.failure_code, OLD.diagnostics);
END;

-- Goes with its entry.
CREATE TRIGGER entry_past_gone BEFORE DELETE ON entry
BEGIN
    DELETE FROM entry_past WHERE entry_id = OLD.id;
END;
