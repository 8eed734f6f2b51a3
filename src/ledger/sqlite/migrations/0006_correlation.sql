-- The name that an integration platform between us and the portal gave to a call (correlationId): what
-- its operators ask for. NULL where there is no platform, or it gave none.
ALTER TABLE call ADD COLUMN correlation_id TEXT;
