-- Taking over from an older sync: what an older program may have sent is asked about before
-- anything is sent, and what it is believed to have sent says so for good.

-- The cut-over in force. NULL: no other program ever sent dossiers of this source.
ALTER TABLE source ADD COLUMN start_from INTEGER;

-- awaiting: nothing is sent before the portal was asked; known, unknown: what it answered. NULL: no
-- older program can have sent it.
ALTER TABLE dossier ADD COLUMN adoption TEXT CHECK (adoption IN ('awaiting', 'known', 'unknown'));
-- The cut-over that it waits under, or was adopted under.
ALTER TABLE dossier ADD COLUMN cut_over INTEGER;
-- The entry whose packet the portal is believed to hold, although it never acknowledged it to us.
ALTER TABLE dossier ADD COLUMN presumed_entry_id INTEGER;
CREATE INDEX dossier_awaiting ON dossier (source) WHERE adoption = 'awaiting';

-- 1: the first mapped revision of a dossier that awaits adoption had it already. What the source
-- adds later cannot have been sent by the older program, whatever time it carries.
ALTER TABLE step ADD COLUMN original INTEGER NOT NULL DEFAULT 0;

-- Two more states of an entry. A longer list in a CHECK leaves every stored row as it is, so only
-- the text of the definition is exchanged, instead of copying the table with all that refers to it.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, '''dead'', ''superseded'')', '''dead'', ''superseded'', ''awaiting'', ''presumed'')')
WHERE type = 'table' AND name = 'entry';
PRAGMA writable_schema = RESET;

CREATE INDEX entry_awaiting ON entry (priority, due_at, id) WHERE state = 'awaiting';

-- What `hoso adopt` asked for. An open run is worked on by whoever owns the portal's gate, so it
-- outlives the command that opened it.
CREATE TABLE adoption_run (
    id               INTEGER PRIMARY KEY,
    source           TEXT,             -- NULL: every source
    budget           INTEGER NOT NULL, -- look-ups at most
    spent            INTEGER NOT NULL DEFAULT 0,   -- look-ups; committed before they leave
    calls            INTEGER NOT NULL DEFAULT 0,   -- answered or not, log-ins included
    known            INTEGER NOT NULL DEFAULT 0,
    filed            INTEGER NOT NULL DEFAULT 0,   -- of the known: filed at the portal itself
    different        INTEGER NOT NULL DEFAULT 0,   -- of the known: the echo differs from our packet
    missing          INTEGER NOT NULL DEFAULT 0,
    undecided        INTEGER NOT NULL DEFAULT 0,   -- look-ups without an answer
    presumed_packets INTEGER NOT NULL DEFAULT 0,
    presumed_steps   INTEGER NOT NULL DEFAULT 0,
    started_at       INTEGER NOT NULL,
    ended_at         INTEGER
) STRICT;
CREATE UNIQUE INDEX adoption_one_open ON adoption_run ((1)) WHERE ended_at IS NULL;
