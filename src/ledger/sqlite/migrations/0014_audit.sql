-- The audit as a chain: each row carries the hash of itself and of the one before it (ledger/audit.rs).
ALTER TABLE audit ADD COLUMN selection TEXT;   -- what was chosen, where the target alone does not say it
ALTER TABLE audit ADD COLUMN plan_hash TEXT;   -- of the frozen list that was acted on
-- NULL only for rows from before this migration, until the first writer seals them.
ALTER TABLE audit ADD COLUMN hash BLOB;
CREATE INDEX audit_unsealed ON audit (id) WHERE hash IS NULL;

-- Stretches of the chain with a name of their own: what was there before there was a chain ('sealed', its
-- rows stay), and what retention has taken ('archived', its rows are gone and its ends are kept).
CREATE TABLE audit_segment (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('sealed', 'archived')),
    first_seq  INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    rows       INTEGER NOT NULL,
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    start_hash BLOB NOT NULL,           -- of the row before the first
    end_hash   BLOB NOT NULL,           -- of the last
    made_at    INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_is_chained BEFORE INSERT ON audit WHEN NEW.hash IS NULL
BEGIN SELECT RAISE(ABORT, 'a row of the audit has its place in the chain'); END;

-- Sealing gives an old row its hash and changes nothing else.
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
WHEN OLD.hash IS NOT NULL OR NEW.hash IS NULL OR OLD.id <> NEW.id OR OLD.at <> NEW.at OR OLD.actor <> NEW.actor
  OR OLD.action <> NEW.action OR OLD.target <> NEW.target OR OLD.reason <> NEW.reason OR OLD.result <> NEW.result
  OR OLD.selection IS NOT NEW.selection OR OLD.plan_hash IS NOT NEW.plan_hash
BEGIN SELECT RAISE(ABORT, 'the audit is never changed'); END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.id > (SELECT coalesce(max(last_seq), 0) FROM audit_segment WHERE kind = 'archived')
BEGIN SELECT RAISE(ABORT, 'only what is archived leaves the audit'); END;

CREATE TRIGGER audit_segment_is_not_changed BEFORE UPDATE ON audit_segment
BEGIN SELECT RAISE(ABORT, 'the ends of the audit''s segments are never changed'); END;

CREATE TRIGGER audit_segment_is_not_deleted BEFORE DELETE ON audit_segment
BEGIN SELECT RAISE(ABORT, 'the ends of the audit''s segments are never deleted'); END;
