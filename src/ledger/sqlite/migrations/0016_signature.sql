-- What dossiers fail of, and what is open of each cause at this moment.
--
-- Triggers keep `problem` in the transaction of whatever changes, so no way of failing can forget it.
-- They cannot tell a cause; they keep the words, and whoever writes a failure signs the row before it
-- commits (`sign`). Rows from before this migration are signed by upkeep, some at a time.

CREATE TABLE signature (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,        -- S-…, of the four that follow
    stage       TEXT NOT NULL,
    code        TEXT NOT NULL,               -- the rule, or a code with the portal's own behind a stroke
    message     TEXT NOT NULL,               -- normalised: nothing of any dossier
    field       TEXT NOT NULL,
    refusal     INTEGER NOT NULL DEFAULT 0,  -- 1: the portal refuses the data itself
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    total       INTEGER NOT NULL DEFAULT 0,  -- how often a dossier came to fail of it
    burst_at    INTEGER,                     -- when so many came at once last, that somebody was told
    burst_from  INTEGER NOT NULL DEFAULT 0,  -- what came before is not counted for the next time
    burst_scope TEXT                         -- 'procedure X', 'agency X'; NULL: nothing was held
) STRICT;

-- How many came to fail, by five minutes; two days of it.
CREATE TABLE signature_count (
    signature_id INTEGER NOT NULL,
    began_at     INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    PRIMARY KEY (signature_id, began_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX signature_count_by_age ON signature_count (began_at);

-- What a person stopped of a cause. Ended, not deleted.
CREATE TABLE signature_hold (
    id           INTEGER PRIMARY KEY,
    signature_id INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    began_at     INTEGER NOT NULL,
    until        INTEGER,                    -- ends by itself then
    ended_at     INTEGER
) STRICT;
CREATE UNIQUE INDEX signature_hold_one_open ON signature_hold (signature_id) WHERE ended_at IS NULL;

-- What people noted about a cause or a dossier.
CREATE TABLE problem_note (
    id       INTEGER PRIMARY KEY,
    target   TEXT NOT NULL,                  -- S-… or a dossier's code
    at       INTEGER NOT NULL,
    author   TEXT NOT NULL,
    owner    TEXT,                           -- who sees to it
    deadline INTEGER,                        -- until when
    note     TEXT NOT NULL
) STRICT;
CREATE INDEX problem_note_by_target ON problem_note (target, id);

-- What is open now.
CREATE TABLE problem (
    what         TEXT NOT NULL CHECK (what IN ('entry', 'step', 'steps', 'document', 'catalogue')),
    of_row       INTEGER NOT NULL,           -- the entry, the dossier of steps, the refused document
    part         TEXT NOT NULL,              -- of a step its identity, of a catalogue its kind
    kind         TEXT NOT NULL CHECK (kind IN ('quarantined', 'dead', 'held', 'failing', 'unreadable', 'catalogue')),
    dossier_id   INTEGER,
    signature_id INTEGER,                    -- NULL before it is signed for the first time
    since        INTEGER NOT NULL,
    -- Of its dossier, as they were then.
    ma_tthc      TEXT,
    ma_don_vi    TEXT,
    appointed_at INTEGER,
    finished     INTEGER NOT NULL DEFAULT 0,
    -- 1: to be signed before this transaction ends; 2: from before this table, signed by upkeep.
    unsigned     INTEGER,
    code         TEXT,                       -- the words that are signed; dropped with that
    failure      TEXT,
    diagnostics  TEXT,
    PRIMARY KEY (what, of_row, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX problem_unsigned ON problem (unsigned) WHERE unsigned IS NOT NULL;
-- All that a list of causes shows, read from end to end without the table.
CREATE INDEX problem_by_cause ON problem (signature_id, kind, ma_tthc, ma_don_vi, finished, appointed_at, since);
CREATE INDEX problem_of_dossiers ON problem (signature_id, dossier_id);
CREATE INDEX problem_recent ON problem (since, signature_id) WHERE kind IN ('quarantined', 'dead', 'held');
CREATE INDEX problem_by_dossier ON problem (dossier_id);

-- A pause that the gateway began by itself, for a cause; at its end one dossier goes as a probe.
ALTER TABLE sending_pause ADD COLUMN signature_id INTEGER;
ALTER TABLE sending_pause ADD COLUMN probe_entry INTEGER;

-- Who said that a held step is at the portal, when and why; JSON. Nobody at the portal did.
ALTER TABLE step ADD COLUMN marked TEXT;

-- An entry is open while it waits for a person and is its dossier's newest, and while its packet is
-- tried again: retries were spent, or its outcome is unknown. What only waited (the process stopped,
-- somebody paused it) says nothing of the dossier.
CREATE VIEW open_entry (id, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, code, failure, diagnostics) AS
    SELECT e.id, CASE e.state WHEN 'quarantined' THEN 'quarantined' WHEN 'dead' THEN 'dead' ELSE 'failing' END,
           e.dossier_id, e.changed_at, d.ma_tthc, d.ma_don_vi, nullif(d.appointed_at, 253402300799000),
           d.finished, e.failure_code, e.failure, e.diagnostics
    FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
    WHERE (e.state IN ('quarantined', 'dead') AND d.newest_entry_id = e.id)
       OR (e.state IN ('ready', 'leased', 'unconfirmed') AND e.failure_code IS NOT NULL
           AND (e.retries > 0 OR e.state = 'unconfirmed')
           AND e.failure_code NOT IN ('push.stopping', 'push.late', 'push.gate_lost', 'push.probe_first',
                                      'portal.paused', 'push.restored'));

CREATE TRIGGER problem_entry AFTER UPDATE OF state, failure, failure_code ON entry
WHEN new.failure_code IS NOT NULL OR old.failure_code IS NOT NULL
BEGIN
    DELETE FROM problem WHERE what = 'entry' AND of_row = new.id
        AND NOT EXISTS (SELECT 1 FROM open_entry WHERE id = new.id);
    INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished,
                         unsigned, code, failure, diagnostics)
    SELECT 'entry', id, '', kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, 1, code, failure,
           diagnostics
    FROM open_entry WHERE id = new.id AND (new.state <> 'leased' OR new.failure_code IS NOT old.failure_code)
    ON CONFLICT (what, of_row, part) DO UPDATE SET
        since = CASE WHEN problem.kind = excluded.kind THEN problem.since ELSE excluded.since END,
        kind = excluded.kind, ma_tthc = excluded.ma_tthc, ma_don_vi = excluded.ma_don_vi,
        appointed_at = excluded.appointed_at, finished = excluded.finished, unsigned = 1, code = excluded.code,
        failure = excluded.failure, diagnostics = excluded.diagnostics;
END;

-- What a newer change has overtaken does not wait for a person any more.
CREATE TRIGGER problem_newest AFTER UPDATE OF newest_entry_id ON dossier
WHEN new.newest_entry_id IS NOT old.newest_entry_id AND old.newest_entry_id IS NOT NULL
BEGIN
    DELETE FROM problem WHERE what = 'entry' AND of_row = old.newest_entry_id AND kind IN ('quarantined', 'dead');
    INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished,
                         unsigned, code, failure, diagnostics)
    SELECT 'entry', id, '', kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, 1, code, failure,
           diagnostics
    FROM open_entry WHERE id = new.newest_entry_id AND kind IN ('quarantined', 'dead')
    ON CONFLICT (what, of_row, part) DO NOTHING;
END;

CREATE TRIGGER problem_entry_gone AFTER DELETE ON entry WHEN old.failure_code IS NOT NULL
BEGIN
    DELETE FROM problem WHERE what = 'entry' AND of_row = old.id;
END;

CREATE VIEW open_step (dossier_id, part, since, ma_tthc, ma_don_vi, appointed_at, finished, failure) AS
    SELECT s.dossier_id, s.thoi_diem || '/' || s.trang_thai || '/' || s.ordinal, s.changed_at, d.ma_tthc, d.ma_don_vi,
           nullif(d.appointed_at, 253402300799000), d.finished, s.failure
    FROM step AS s JOIN dossier AS d ON d.id = s.dossier_id WHERE s.state = 'held';

CREATE TRIGGER problem_step AFTER UPDATE OF state, failure ON step
WHEN new.state = 'held' OR old.state = 'held'
BEGIN
    DELETE FROM problem WHERE what = 'step' AND of_row = new.dossier_id AND new.state <> 'held'
        AND part = new.thoi_diem || '/' || new.trang_thai || '/' || new.ordinal;
    INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished,
                         unsigned, failure)
    SELECT 'step', new.dossier_id, new.thoi_diem || '/' || new.trang_thai || '/' || new.ordinal, 'held',
           new.dossier_id, new.changed_at, d.ma_tthc, d.ma_don_vi, nullif(d.appointed_at, 253402300799000),
           d.finished, 1, new.failure
    FROM dossier AS d WHERE d.id = new.dossier_id AND new.state = 'held'
    ON CONFLICT (what, of_row, part) DO UPDATE SET unsigned = 1, failure = excluded.failure;
END;

-- Steps that are tried again, together as they travel.
CREATE VIEW open_steps (dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, failure) AS
    SELECT d.id, coalesce(d.acked_at, d.first_seen_at), d.ma_tthc, d.ma_don_vi,
           nullif(d.appointed_at, 253402300799000), d.finished, d.steps_failure
    FROM dossier AS d
    WHERE d.steps_failure IS NOT NULL AND d.steps_pending > 0 AND d.steps_retries > 0 AND d.packet_state = 'accepted';

CREATE TRIGGER problem_steps AFTER UPDATE OF steps_failure, steps_pending, steps_retries, packet_state ON dossier
WHEN new.steps_failure IS NOT NULL OR old.steps_failure IS NOT NULL
BEGIN
    DELETE FROM problem WHERE what = 'steps' AND of_row = new.id
        AND NOT EXISTS (SELECT 1 FROM open_steps WHERE dossier_id = new.id);
    INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished,
                         unsigned, failure)
    SELECT 'steps', dossier_id, '', 'failing', dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, 1, failure
    FROM open_steps WHERE dossier_id = new.id AND new.steps_failure IS NOT NULL
    ON CONFLICT (what, of_row, part) DO UPDATE SET unsigned = 1, failure = excluded.failure;
END;

CREATE TRIGGER problem_document AFTER INSERT ON refused_document WHEN new.resolved_at IS NULL
BEGIN
    INSERT INTO problem (what, of_row, part, kind, dossier_id, since, unsigned, code, failure)
    VALUES ('document', new.id, '', 'unreadable', NULL, new.at, 1, new.rule, new.reason)
    ON CONFLICT (what, of_row, part) DO NOTHING;
END;

CREATE TRIGGER problem_document_again AFTER UPDATE OF resolved_at ON refused_document
WHEN (new.resolved_at IS NULL) <> (old.resolved_at IS NULL)
BEGIN
    DELETE FROM problem WHERE what = 'document' AND of_row = new.id;
    INSERT INTO problem (what, of_row, part, kind, dossier_id, since, unsigned, code, failure)
    SELECT 'document', new.id, '', 'unreadable', NULL, new.at, 1, new.rule, new.reason WHERE new.resolved_at IS NULL;
END;

CREATE TRIGGER problem_document_gone AFTER DELETE ON refused_document
BEGIN
    DELETE FROM problem WHERE what = 'document' AND of_row = old.id;
END;

-- Of a procedure's details every procedure that the portal does not know would be one.
CREATE TRIGGER problem_catalogue AFTER UPDATE OF failing_since, failure ON catalogue
WHEN new.kind <> 'details' AND (new.failing_since IS NOT NULL OR old.failing_since IS NOT NULL)
BEGIN
    DELETE FROM problem WHERE what = 'catalogue' AND part = new.kind AND new.failing_since IS NULL;
    INSERT INTO problem (what, of_row, part, kind, since, unsigned, failure)
    SELECT 'catalogue', 0, new.kind, 'catalogue', new.failing_since, 1, new.failure WHERE new.failing_since IS NOT NULL
    ON CONFLICT (what, of_row, part) DO UPDATE SET unsigned = 1, failure = excluded.failure;
END;

CREATE TRIGGER problem_catalogue_new AFTER INSERT ON catalogue
WHEN new.kind <> 'details' AND new.failing_since IS NOT NULL
BEGIN
    INSERT INTO problem (what, of_row, part, kind, since, unsigned, failure)
    VALUES ('catalogue', 0, new.kind, 'catalogue', new.failing_since, 1, new.failure)
    ON CONFLICT (what, of_row, part) DO UPDATE SET unsigned = 1, failure = excluded.failure;
END;

-- What is open already.
INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, unsigned,
                     code, failure, diagnostics)
SELECT 'entry', o.id, '', o.kind, o.dossier_id, o.since, o.ma_tthc, o.ma_don_vi, o.appointed_at, o.finished, 2, o.code,
       o.failure, o.diagnostics
FROM (SELECT id FROM entry WHERE state IN ('quarantined', 'dead')
      UNION ALL SELECT id FROM entry WHERE state IN ('received', 'ready', 'leased', 'unconfirmed')) AS e
JOIN open_entry AS o ON o.id = e.id;
INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, unsigned,
                     failure)
SELECT 'step', dossier_id, part, 'held', dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, 2, failure
FROM open_step;
INSERT INTO problem (what, of_row, part, kind, dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, unsigned,
                     failure)
SELECT 'steps', dossier_id, '', 'failing', dossier_id, since, ma_tthc, ma_don_vi, appointed_at, finished, 2, failure
FROM open_steps;
INSERT INTO problem (what, of_row, part, kind, since, unsigned, code, failure)
SELECT 'document', id, '', 'unreadable', at, 2, rule, reason FROM refused_document WHERE resolved_at IS NULL;
INSERT INTO problem (what, of_row, part, kind, since, unsigned, failure)
SELECT 'catalogue', 0, kind, 'catalogue', failing_since, 2, failure FROM catalogue
WHERE kind <> 'details' AND failing_since IS NOT NULL;
