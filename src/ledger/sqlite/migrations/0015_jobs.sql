-- Sending many dossiers again: what they are selected by, frozen plans, and the jobs that run them.
--
-- Rows from before this migration have neither status, channel nor time of reception until they are
-- mapped again: a selection by one of these does not meet them.

ALTER TABLE dossier ADD COLUMN trang_thai TEXT;           -- TrangThaiHoSo of the newest mapped packet
ALTER TABLE dossier ADD COLUMN kenh_thuc_hien TEXT;       -- KenhThucHien
ALTER TABLE dossier ADD COLUMN tiep_nhan_at INTEGER;      -- NgayTiepNhan

-- A frozen list of dossiers, and why somebody wants them sent again. Never changed once it is sealed.
CREATE TABLE plan (
    id              INTEGER PRIMARY KEY,
    made_at         INTEGER NOT NULL,
    actor           TEXT NOT NULL,
    reason          TEXT NOT NULL,
    selection       TEXT NOT NULL,       -- canonical text
    mode            TEXT NOT NULL CHECK (mode IN ('re_map', 'as_sent', 're_pull', 'steps_only')),
    supplements     INTEGER NOT NULL,    -- 1: also requests for a supplement (status 5) are sent again
    -- Nothing that came after this is in the list: what matches later is another plan.
    last_dossier_id INTEGER NOT NULL,
    sealed_at       INTEGER,             -- NULL: its list is being made, or was never finished
    items           INTEGER,
    hash            BLOB                 -- of selection, mode and list
) STRICT;
CREATE INDEX plan_unsealed ON plan (made_at) WHERE sealed_at IS NULL;

-- A plan that somebody set to work; one plan is worked on once.
CREATE TABLE job (
    id            INTEGER PRIMARY KEY,
    plan_id       INTEGER NOT NULL UNIQUE REFERENCES plan (id),
    actor         TEXT NOT NULL,
    reason        TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('canary', 'running', 'paused', 'done', 'cancelled', 'stopped')),
    note          TEXT,                  -- why it is paused or stopped, or what it waits for
    canary        INTEGER NOT NULL,      -- items that go first and are looked up at the portal
    canary_passed INTEGER NOT NULL DEFAULT 0,
    per_minute    INTEGER NOT NULL,      -- items opened a minute at most
    stop_after    INTEGER NOT NULL,      -- failures with one code that stop it
    started_at    INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,      -- since when it is in this state
    progress_at   INTEGER NOT NULL,      -- when an item changed last
    counting_from INTEGER NOT NULL,      -- failures from before this do not stop it any more
    paced_from    INTEGER NOT NULL,      -- since then `paced` items were opened
    paced         INTEGER NOT NULL DEFAULT 0,
    ended_at      INTEGER
) STRICT;
CREATE INDEX job_at_work ON job (id) WHERE state IN ('canary', 'running', 'paused', 'stopped');

-- One dossier of a plan, in the order in which the ledger met them.
CREATE TABLE job_item (
    plan_id     INTEGER NOT NULL REFERENCES plan (id),
    dossier_id  INTEGER NOT NULL REFERENCES dossier (id),
    revision_id INTEGER NOT NULL,        -- the newest one when it was planned
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'opened', 'sent', 'confirmed', 'failed', 'skipped',
                                               'cancelled')),
    entry_id    INTEGER,                 -- the obligation that carries it
    changed_at  INTEGER NOT NULL,
    outcome     TEXT,                    -- failure code, or why it was skipped
    PRIMARY KEY (plan_id, dossier_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_item_by_state ON job_item (plan_id, state, dossier_id);
CREATE INDEX job_item_by_dossier ON job_item (dossier_id);
