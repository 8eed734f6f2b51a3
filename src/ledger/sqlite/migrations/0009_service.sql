-- What monitoring asks for every minute, answered from small indexes however large the ledger is.

-- When packet and every step of the newest change were acknowledged, and how long after the change at
-- the source that was. No lag for first fills, repairs and what an operator wanted sent again: there
-- the source did not change.
ALTER TABLE revision ADD COLUMN first_fill INTEGER NOT NULL DEFAULT 0;   -- 1: read before the feed's first end
ALTER TABLE dossier ADD COLUMN synchronised_at INTEGER;
ALTER TABLE dossier ADD COLUMN synchronised_lag_ms INTEGER;
CREATE INDEX dossier_lag ON dossier (synchronised_at, synchronised_lag_ms) WHERE synchronised_lag_ms IS NOT NULL;

-- The oldest of what is on its way.
CREATE INDEX entry_open ON entry (created_at) WHERE state IN ('received', 'ready', 'leased', 'unconfirmed');
CREATE INDEX dossier_owing ON dossier (acked_at) WHERE steps_pending > 0 AND packet_state = 'accepted';

CREATE INDEX reconciliation_by_source ON reconciliation (source, id);

-- The configuration that the owner of the gate runs with.
CREATE TABLE in_force (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    holder          TEXT NOT NULL,
    hash            TEXT NOT NULL,       -- of the options, defaults included, secrets left out
    since           INTEGER NOT NULL,
    mapping_version TEXT NOT NULL,
    program_version TEXT NOT NULL
) STRICT;

-- Why the owner of the gate sends nothing although work is due; no row while it sends.
CREATE TABLE pause (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    since   INTEGER NOT NULL,
    failure TEXT NOT NULL                -- JSON
) STRICT;
