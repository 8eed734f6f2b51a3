-- Steps that came back from a call after the source had closed their dossier used to wait behind a
-- packet that will never be. They are withdrawn, as they should have been then.

UPDATE step SET state = 'withdrawn'
WHERE state = 'pending'
  AND dossier_id IN (SELECT id FROM dossier WHERE packet_state = 'none' AND steps_pending > 0);

UPDATE dossier SET steps_failure = NULL, steps_retries = 0,
    steps_pending = (SELECT count(*) FROM step WHERE dossier_id = dossier.id AND state = 'leased')
WHERE packet_state = 'none' AND steps_pending > 0;
