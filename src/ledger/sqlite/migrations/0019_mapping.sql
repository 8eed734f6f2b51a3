-- Mappings that were put in force, each with all its texts. The newest row is in force; there is no other
-- pointer, so a switch is one insertion and a crash leaves the old one or the new one whole.
CREATE TABLE applied_mapping (
    id         INTEGER PRIMARY KEY,
    version    TEXT NOT NULL,           -- twelve digits, under the settings of its time
    hash       TEXT NOT NULL,           -- of the texts
    files      TEXT NOT NULL,           -- JSON: mapping.toml, code lists, succession, procedures
    applied_at INTEGER NOT NULL,
    applied_by TEXT NOT NULL,
    reason     TEXT NOT NULL
) STRICT;

-- Under which mapping a call was made: an entry's own version is overwritten when it is mapped again.
ALTER TABLE attempt ADD COLUMN mapping_version TEXT;

-- What another mapping may make sound.
CREATE INDEX entry_quarantined_mapping ON entry (mapping_version, id) WHERE state = 'quarantined';
