-- Re-coded dossiers, files that the portal holds, and where a refused item came from.

-- The code under which the source kept this dossier before (maHoSoCu), as it was given.
ALTER TABLE revision ADD COLUMN recoded_from TEXT;
CREATE INDEX revision_recoded ON revision (recoded_from) WHERE recoded_from IS NOT NULL;

-- Ids of the files that the portal holds once this packet is acknowledged; JSON, NULL for none.
ALTER TABLE packet ADD COLUMN files TEXT;

-- The same of the packet that was acknowledged last. Ids alone, so it may outlive the packet: a
-- file that goes missing at the source after retention is still noticed.
CREATE TABLE acked_files (
    dossier_id INTEGER PRIMARY KEY REFERENCES dossier (id),
    files      TEXT NOT NULL
) STRICT;

-- The file in which a source gave the item or document; a later readable file of that name makes
-- up for it.
ALTER TABLE refused_document ADD COLUMN origin TEXT;
