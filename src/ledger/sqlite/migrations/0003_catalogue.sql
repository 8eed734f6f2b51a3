-- What the portal says that it knows: procedures, fields, agencies, and details of procedures.

-- One row a catalogue; for `details` one a procedure that dossiers use.
CREATE TABLE catalogue (
    kind            TEXT NOT NULL CHECK (kind IN ('procedures', 'fields', 'agencies', 'details')),
    procedure       TEXT NOT NULL,   -- national code, for details; '' for the lists
    version_id      INTEGER,         -- the version in use; NULL before the first
    confirmed_at    INTEGER,         -- when the portal last gave exactly this version
    tried_at        INTEGER,         -- last fetch, whatever came of it
    failures        INTEGER NOT NULL DEFAULT 0,      -- fetches in a row that changed nothing
    failing_since   INTEGER,
    failure         TEXT,            -- JSON, of the last fetch; NULL when it succeeded
    asked_at        INTEGER,         -- since when a person wants it fetched
    accept_shrunken INTEGER NOT NULL DEFAULT 0,      -- 1: that person knows that it became small
    uses            INTEGER NOT NULL DEFAULT 0,      -- dossiers mapped with this procedure
    used_at         INTEGER,
    PRIMARY KEY (kind, procedure)
) STRICT, WITHOUT ROWID;

-- What the portal gave, when it differed from the version before. Ids are never used twice, so the
-- largest one tells whether anything is new.
CREATE TABLE catalogue_version (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    procedure   TEXT NOT NULL,
    hash        BLOB NOT NULL,       -- of the items in their canonical order
    accepted_at INTEGER NOT NULL,
    items       INTEGER NOT NULL,
    added       INTEGER NOT NULL,    -- against the version before
    removed     INTEGER NOT NULL,
    renamed     INTEGER NOT NULL
) STRICT;
CREATE INDEX catalogue_version_of ON catalogue_version (kind, procedure, id);

-- The items of a version: a JSON array, compressed.
CREATE TABLE catalogue_body (
    version_id INTEGER PRIMARY KEY REFERENCES catalogue_version (id),
    body       BLOB NOT NULL
) STRICT;
