-- What a ledger needs that runs for years: legal holds, a record of what retention took, daily sizes,
-- the keys of sealed bodies, and what follows a restored backup.

-- Dossiers of which nothing may be deleted, and since when not any more.
CREATE TABLE legal_hold (
    id             INTEGER PRIMARY KEY,
    dossier_id     INTEGER NOT NULL REFERENCES dossier (id),
    placed_at      INTEGER NOT NULL,
    placed_by      TEXT NOT NULL,
    reason         TEXT NOT NULL,
    released_at    INTEGER,
    released_by    TEXT,
    release_reason TEXT
) STRICT;
CREATE INDEX legal_hold_by_dossier ON legal_hold (dossier_id);
CREATE UNIQUE INDEX legal_hold_one ON legal_hold (dossier_id) WHERE released_at IS NULL;

-- Where retention goes on in each table: it looks at some rows a pass, in the order of their ids, and
-- begins again when it has come to what is too young.
CREATE TABLE retention (
    class TEXT PRIMARY KEY,
    at    INTEGER NOT NULL,          -- time and id of the last row that was looked at
    id    INTEGER NOT NULL
) STRICT;

-- What retention took from one dossier's history, so that the history can say so.
CREATE TABLE trimmed (
    dossier_id INTEGER PRIMARY KEY REFERENCES dossier (id),
    attempts   INTEGER NOT NULL DEFAULT 0,
    entries    INTEGER NOT NULL DEFAULT 0,
    revisions  INTEGER NOT NULL DEFAULT 0,
    at         INTEGER NOT NULL
) STRICT;

-- Deleting a revision asks whether an entry still points to it.
CREATE INDEX entry_by_revision ON entry (revision_id);

-- How large everything was, once a day.
CREATE TABLE size_sample (
    day   TEXT NOT NULL,             -- yyyyMMdd, Vietnam
    class TEXT NOT NULL,
    at    INTEGER NOT NULL,
    rows  INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (day, class)
) STRICT, WITHOUT ROWID;

-- Keys under which bodies are sealed; never the keys themselves. No row: bodies are not sealed.
CREATE TABLE body_key (
    id          BLOB PRIMARY KEY,    -- 8 bytes, stands in front of every body under this key
    check_value BLOB NOT NULL,       -- derived from the key: tells a wrong one before it is used
    adopted_at  INTEGER NOT NULL,
    current     INTEGER NOT NULL,    -- 1: new bodies are sealed under it
    complete_at INTEGER              -- since when no body is left that is not under it
) STRICT;
CREATE UNIQUE INDEX body_key_one ON body_key (current) WHERE current = 1;

-- A restored backup: until its source has been read again, nothing of it is sent, because the portal
-- may know more than the ledger.
CREATE TABLE restored (
    source      TEXT PRIMARY KEY,
    backup_at   INTEGER NOT NULL,    -- nothing after this is in the backup
    restored_at INTEGER NOT NULL,
    read_at     INTEGER,             -- since when the feed has been read to its end again
    over_at     INTEGER              -- since when everything of that is mapped, so that sending goes on
) STRICT;
CREATE INDEX restored_open ON restored (source) WHERE over_at IS NULL;
