-- Reconciliation as rows: what a run may ask and where it stands, the dossiers that it compares, its
-- books by day, agency and procedure, and the slow scan behind the cursor.

CREATE TABLE reconcile_run (
    id         INTEGER PRIMARY KEY,
    source     TEXT NOT NULL,
    orders     TEXT NOT NULL,                -- JSON: what was asked for
    phase      TEXT NOT NULL CHECK (phase IN ('reading', 'asking', 'closing', 'ended')),
    cursor     TEXT,                         -- of the source's index
    from_day   TEXT NOT NULL,
    to_day     TEXT NOT NULL,
    wanted     INTEGER NOT NULL DEFAULT 0,   -- look-ups that the plan foresees
    chosen     INTEGER NOT NULL DEFAULT 0,   -- dossiers taken to be asked about
    asked      INTEGER NOT NULL DEFAULT 0,   -- of these: answered
    spent      INTEGER NOT NULL DEFAULT 0,   -- look-ups, counted before they leave
    calls      INTEGER NOT NULL DEFAULT 0,   -- log-ins included
    fruitless  INTEGER NOT NULL DEFAULT 0,   -- rounds without any answer, in a row
    widened    TEXT NOT NULL DEFAULT '[]',   -- JSON: slices that are asked about whole
    remark     TEXT NOT NULL DEFAULT '',
    books      TEXT,                         -- JSON, when it has ended well
    started_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX reconcile_one_open ON reconcile_run (source) WHERE ended_at IS NULL;
CREATE INDEX reconcile_run_by_source ON reconcile_run (source, id);

-- One dossier of a run. Those that are matched and unremarkable are dropped when it has ended.
CREATE TABLE reconcile_line (
    run             INTEGER NOT NULL REFERENCES reconcile_run (id) ON DELETE CASCADE,
    ma_ho_so        TEXT NOT NULL,
    dossier_id      INTEGER,
    day             TEXT NOT NULL,           -- of reception, yyyymmdd
    agency          TEXT NOT NULL,
    procedure       TEXT NOT NULL,
    bucket          TEXT NOT NULL,
    cause           TEXT,
    detail          TEXT NOT NULL DEFAULT '',
    differences     TEXT,                    -- JSON, personal values masked
    presumed        INTEGER NOT NULL,
    suspected_since INTEGER,
    seen            INTEGER NOT NULL DEFAULT 0,  -- 1: the portal has it, 2: and echoes what it was told
    draw            INTEGER,                 -- its lot, until it is taken; smaller goes first
    turn            INTEGER,                 -- rounds it was asked in without an answer; NULL: not to be asked
    lot             INTEGER,                 -- 1: in the population of the sample, 2: drawn from it
    PRIMARY KEY (run, ma_ho_so)
) STRICT, WITHOUT ROWID;
CREATE INDEX reconcile_line_drawn ON reconcile_line (run, draw) WHERE draw IS NOT NULL;
CREATE INDEX reconcile_line_turn ON reconcile_line (run, turn, ma_ho_so) WHERE turn IS NOT NULL;
CREATE INDEX reconcile_line_found ON reconcile_line (run, ma_ho_so) WHERE bucket <> 'matched' OR cause IS NOT NULL;

-- The books: each dossier of the index is in one row of each of the three kinds.
CREATE TABLE reconcile_row (
    run          INTEGER NOT NULL REFERENCES reconcile_run (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL CHECK (kind IN ('day', 'agency', 'procedure')),
    name         TEXT NOT NULL,
    at_source    INTEGER NOT NULL DEFAULT 0, -- counted while the index was read
    matched      INTEGER NOT NULL DEFAULT 0,
    different    INTEGER NOT NULL DEFAULT 0,
    missing      INTEGER NOT NULL DEFAULT 0,
    unverifiable INTEGER NOT NULL DEFAULT 0,
    quarantined  INTEGER NOT NULL DEFAULT 0,
    dead         INTEGER NOT NULL DEFAULT 0,
    open         INTEGER NOT NULL DEFAULT 0,
    not_ours     INTEGER NOT NULL DEFAULT 0,
    explained    INTEGER NOT NULL DEFAULT 0, -- of those not matched: with a named cause
    PRIMARY KEY (run, kind, name)
) STRICT, WITHOUT ROWID;

-- Where the slow scan of each source's index stands, and what its rounds found.
CREATE TABLE rolling_scan (
    source           TEXT PRIMARY KEY,
    cursor           TEXT,
    from_day         TEXT NOT NULL,
    to_day           TEXT NOT NULL,
    round            INTEGER NOT NULL,
    seen             INTEGER NOT NULL,       -- of this round
    missed           INTEGER NOT NULL,
    began_at         INTEGER NOT NULL,
    last_seen        INTEGER,                -- of the last whole round
    last_missed      INTEGER,
    last_ended_at    INTEGER,
    missed_in_all    INTEGER NOT NULL DEFAULT 0,
    scanned_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
