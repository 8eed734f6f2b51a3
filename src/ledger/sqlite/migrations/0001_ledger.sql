-- Times are integer milliseconds since 1970 (UTC), always from the gateway's clock, never SQL's.
-- Hashes are 32-byte BLAKE3. Bodies are zstd-compressed. JSON columns hold envelopes that are only
-- shown, never filtered by.
--
-- Bodies that retention takes live in tables of their own and their rows are deleted: setting a
-- column to NULL would leave every page half empty, and the file would never use that room again.

-- Tells a ledger from the SQLite files of other programs: "hoso" in ASCII.
PRAGMA application_id = 1752134511;

-- What is known of a source between polls.
CREATE TABLE source (
    name          TEXT PRIMARY KEY,
    etag          TEXT,              -- of the page that begins the next poll
    etag_cursor   TEXT,              -- the cursor that this etag belongs to
    polled_at     INTEGER,
    caught_up_at  INTEGER,           -- last time the feed said that nothing more is there
    failure       TEXT,              -- JSON, of the last poll; NULL when it succeeded
    failing_since INTEGER
) STRICT;

-- Recent positions in each feed; a poll starts from one that is older than the overlap.
CREATE TABLE cursor (
    id                INTEGER PRIMARY KEY,
    source            TEXT NOT NULL,
    position          TEXT NOT NULL,
    newest_changed_at INTEGER,       -- newest capNhatLuc of the page that ended here
    recorded_at       INTEGER NOT NULL,
    UNIQUE (source, position)
) STRICT;
CREATE INDEX cursor_by_change ON cursor (source, newest_changed_at, id);

-- Documents and items that could not be read at all, kept as evidence.
CREATE TABLE refused_document (
    id       INTEGER PRIMARY KEY,
    source   TEXT NOT NULL,
    at       INTEGER NOT NULL,
    rule     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    ma_ho_so TEXT,
    whole    INTEGER NOT NULL,       -- 1: a whole answer of the feed, 0: one item of it
    hash     BLOB NOT NULL,
    body     BLOB,                   -- NULL after retention
    resolved_at INTEGER,             -- since when the source gives something readable instead
    UNIQUE (source, hash)
) STRICT;
CREATE INDEX refused_kept ON refused_document (at) WHERE body IS NOT NULL;
CREATE INDEX refused_standing ON refused_document (source) WHERE resolved_at IS NULL;

-- One row a dossier: the lane of its deliveries and what the portal is believed to know.
CREATE TABLE dossier (
    id                 INTEGER PRIMARY KEY,
    source             TEXT NOT NULL,
    ma_ho_so           TEXT NOT NULL,
    first_seen_at      INTEGER NOT NULL,
    newest_revision_id INTEGER,
    newest_entry_id    INTEGER,
    newest_version     INTEGER,
    newest_changed_at  INTEGER,
    newest_fingerprint BLOB,
    priority           INTEGER NOT NULL DEFAULT 1,
    portal_known       TEXT NOT NULL DEFAULT 'unknown' CHECK (portal_known IN ('unknown', 'no', 'yes')),
    -- The newest mapped packet: nothing yet, on its way, acknowledged, or refused for good.
    packet_state       TEXT NOT NULL DEFAULT 'none' CHECK (packet_state IN ('none', 'open', 'accepted', 'dead')),
    acked_entry_id     INTEGER,
    acked_packet_hash  BLOB,
    acked_at           INTEGER,
    -- Set while a call about this dossier is out or its outcome is unknown: single flight.
    lane_token         INTEGER,
    steps_pending      INTEGER NOT NULL DEFAULT 0,   -- pending or leased
    steps_due_at       INTEGER NOT NULL DEFAULT 0,
    steps_retries      INTEGER NOT NULL DEFAULT 0,
    steps_alone        INTEGER NOT NULL DEFAULT 0,   -- 1: one step a call, after a refused call
    steps_lease_until  INTEGER,
    steps_failure      TEXT,
    UNIQUE (source, ma_ho_so)
) STRICT;
CREATE INDEX dossier_by_code ON dossier (ma_ho_so);
CREATE INDEX dossier_steps_due ON dossier (priority, steps_due_at)
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL;
CREATE INDEX dossier_steps_leased ON dossier (steps_lease_until) WHERE steps_lease_until IS NOT NULL;

-- One version of a dossier as its source gave it. Never changed.
CREATE TABLE revision (
    id          INTEGER PRIMARY KEY,
    dossier_id  INTEGER NOT NULL REFERENCES dossier (id),
    version     INTEGER,             -- phienBan
    changed_at  INTEGER,             -- capNhatLuc
    fingerprint BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    deleted     INTEGER NOT NULL,    -- daXoa
    ministry    INTEGER NOT NULL     -- chuQuan = bo
) STRICT;
CREATE INDEX revision_by_dossier ON revision (dossier_id, id);

-- The <HoSo> element of a revision, until retention takes it.
CREATE TABLE document (
    revision_id INTEGER PRIMARY KEY REFERENCES revision (id),
    stored_at   INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX document_by_age ON document (stored_at);

-- The obligation that one revision creates; see the entry state machine.
CREATE TABLE entry (
    id               INTEGER PRIMARY KEY,
    dossier_id       INTEGER NOT NULL REFERENCES dossier (id),
    revision_id      INTEGER NOT NULL REFERENCES revision (id),
    state            TEXT NOT NULL CHECK (state IN ('received', 'quarantined', 'not_ours', 'unchanged', 'ready',
                                                    'leased', 'unconfirmed', 'accepted', 'dead', 'superseded')),
    priority         INTEGER NOT NULL,
    forced           INTEGER NOT NULL DEFAULT 0,   -- 1: an operator wants it sent even if unchanged
    created_at       INTEGER NOT NULL,
    changed_at       INTEGER NOT NULL,             -- since when it is in this state
    due_at           INTEGER NOT NULL,
    attempt          INTEGER NOT NULL DEFAULT 0,   -- calls begun; committed before the first byte
    retries          INTEGER NOT NULL DEFAULT 0,   -- of the retry budget
    batch_max        INTEGER,
    lease_token      INTEGER,
    lease_expires_at INTEGER,
    packet_hash      BLOB,
    mapping_version  TEXT,
    program_version  TEXT,
    failure          TEXT,                         -- JSON, the last one
    failure_code     TEXT,                         -- its code, or the first error rule
    diagnostics      TEXT,                         -- JSON
    receipt          TEXT,                         -- JSON
    superseded_by    INTEGER
) STRICT;
CREATE INDEX entry_by_dossier ON entry (dossier_id, id);
CREATE INDEX entry_received ON entry (priority, id) WHERE state = 'received';
CREATE INDEX entry_due ON entry (priority, due_at, id) WHERE state = 'ready';
CREATE INDEX entry_leased ON entry (lease_expires_at) WHERE state = 'leased';
CREATE INDEX entry_unconfirmed ON entry (priority, due_at, id) WHERE state = 'unconfirmed';
CREATE INDEX entry_for_a_person ON entry (changed_at) WHERE state IN ('quarantined', 'dead');
-- At most one send is wanted, and at most one is out, for any dossier.
CREATE UNIQUE INDEX entry_one_ready ON entry (dossier_id) WHERE state = 'ready';
CREATE UNIQUE INDEX entry_one_out ON entry (dossier_id) WHERE state IN ('leased', 'unconfirmed');

-- The packet an entry sends, stored before the first byte leaves, until retention takes it.
CREATE TABLE packet (
    entry_id  INTEGER PRIMARY KEY REFERENCES entry (id),
    stored_at INTEGER NOT NULL,
    body      BLOB NOT NULL
) STRICT;
CREATE INDEX packet_by_age ON packet (stored_at);

-- Progress steps of a dossier, in time order by key.
CREATE TABLE step (
    dossier_id INTEGER NOT NULL REFERENCES dossier (id),
    thoi_diem  TEXT NOT NULL,
    trang_thai TEXT NOT NULL,
    ordinal    INTEGER NOT NULL,
    place      INTEGER NOT NULL,     -- in the source's list; orders steps of one second
    hash       BLOB NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'leased', 'acked', 'held', 'presumed_sent', 'withdrawn')),
    changed_at INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    failure    TEXT,
    body_id    INTEGER NOT NULL,     -- of step_body, whose row retention may have taken
    body_line  INTEGER NOT NULL,     -- its line there, from 0
    PRIMARY KEY (dossier_id, thoi_diem, trang_thai, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX step_held ON step (changed_at) WHERE state = 'held';

-- What steps send: the new steps of one dossier in one mapping, a line of JSON each. Ids are never
-- used twice, so a step whose body is gone finds nothing.
CREATE TABLE step_body (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    dossier_id INTEGER NOT NULL,
    stored_at  INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;
CREATE INDEX step_body_by_age ON step_body (stored_at);

-- Every wire call to the portal: what each token of the quota bought.
CREATE TABLE call (
    id           INTEGER PRIMARY KEY,
    service      TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    duration_ms  INTEGER NOT NULL,
    items        INTEGER NOT NULL,
    sent_bytes   INTEGER NOT NULL,
    answer_bytes INTEGER NOT NULL,
    http_status  INTEGER,
    error_code   TEXT,
    message      TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    body_hash    BLOB NOT NULL
) STRICT;
CREATE INDEX call_by_time ON call (started_at);

-- What one call meant for one dossier.
CREATE TABLE attempt (
    id           INTEGER PRIMARY KEY,
    dossier_id   INTEGER NOT NULL REFERENCES dossier (id),
    entry_id     INTEGER,            -- NULL for steps
    call_id      INTEGER,            -- NULL when nothing is known of the call
    kind         TEXT NOT NULL CHECK (kind IN ('packet', 'steps', 'read_back')),
    number       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    outcome      TEXT NOT NULL,
    failure_code TEXT,
    detail       TEXT                -- for steps: which ones
) STRICT;
CREATE INDEX attempt_by_dossier ON attempt (dossier_id, id);

CREATE TABLE discrepancy (
    id          INTEGER PRIMARY KEY,
    dossier_id  INTEGER,
    source      TEXT NOT NULL,
    ma_ho_so    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    found_at    INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    resolved_at INTEGER,
    resolution  TEXT
) STRICT;
CREATE UNIQUE INDEX discrepancy_one_open ON discrepancy (source, ma_ho_so, kind, detail) WHERE resolved_at IS NULL;
CREATE INDEX discrepancy_by_dossier ON discrepancy (dossier_id);

-- Closed books, one row a run of the reconciliation.
CREATE TABLE reconciliation (
    id         INTEGER PRIMARY KEY,
    source     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    from_day   TEXT NOT NULL,
    to_day     TEXT NOT NULL,
    books      TEXT NOT NULL,        -- JSON
    closed     INTEGER NOT NULL
) STRICT;

-- Who did what, and why.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_target ON audit (target, id);

-- Work that one process does at a time: the portal's gate, each source's feed.
CREATE TABLE singleton (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    token      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Up to when each quota window's budget is promised away; survives a crash.
CREATE TABLE quota_promise (
    window TEXT PRIMARY KEY,
    until  INTEGER NOT NULL
) STRICT;
