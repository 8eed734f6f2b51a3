-- A dossier that could not be read is asked for by its code, because a source that mends its export
-- need not call that a change of the dossier. This is when it was asked for last.
ALTER TABLE refused_document ADD COLUMN asked_at INTEGER NOT NULL DEFAULT 0;
