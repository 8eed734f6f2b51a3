-- How many there are of each, so that nobody reads a million rows to say where everything stands.
-- Triggers keep it, in the transaction of whatever changes; `hoso ledger check` counts anew and
-- compares. What is few at any time (leased, held) is still counted when somebody asks.

CREATE TABLE tally (
    what TEXT NOT NULL,
    name TEXT NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (what, name)
) STRICT, WITHOUT ROWID;

-- What must stand in it.
CREATE VIEW counted_anew (what, name, n) AS
    -- Dossiers by the state of their newest entry; a leased one counts as ready.
    SELECT 'dossiers', CASE e.state WHEN 'leased' THEN 'ready' ELSE e.state END AS counted_as, count(*)
    FROM dossier AS d CROSS JOIN entry AS e ON e.id = d.newest_entry_id GROUP BY counted_as
    UNION ALL
    -- Of them: packet acknowledged, and no step on its way.
    SELECT 'through', '', count(*)
    FROM dossier AS d CROSS JOIN entry AS e ON e.id = d.newest_entry_id
    WHERE d.packet_state = 'accepted' AND d.steps_pending = 0 AND e.state IN ('accepted', 'unchanged')
    UNION ALL
    -- Entries that a newer revision replaced.
    SELECT 'superseded', '', count(*) FROM entry WHERE state = 'superseded'
    UNION ALL
    SELECT 'steps', 'all', count(*) FROM step
    UNION ALL
    SELECT 'steps', state, count(*) FROM step WHERE state IN ('withdrawn', 'presumed_sent') GROUP BY state
    UNION ALL
    -- Pending and leased steps by what they wait for.
    SELECT 'owed', CASE WHEN packet_state = 'dead' THEN 'waiting' WHEN adoption = 'awaiting' THEN 'awaiting'
                        ELSE 'pending' END AS wait,
           sum(steps_pending)
    FROM dossier WHERE steps_pending > 0 GROUP BY wait;

INSERT INTO tally (what, name, n) SELECT what, name, n FROM counted_anew;
INSERT INTO tally (what, name, n) VALUES ('steps', 'withdrawn', 0), ('steps', 'presumed_sent', 0),
    ('owed', 'waiting', 0), ('owed', 'awaiting', 0), ('owed', 'pending', 0)
    ON CONFLICT (what, name) DO NOTHING;

CREATE TRIGGER tally_entry_state AFTER UPDATE OF state ON entry
WHEN new.state <> old.state
     AND CASE new.state WHEN 'leased' THEN 'ready' ELSE new.state END
         <> CASE old.state WHEN 'leased' THEN 'ready' ELSE old.state END
     AND EXISTS (SELECT 1 FROM dossier WHERE id = new.dossier_id AND newest_entry_id = new.id)
BEGIN
    UPDATE tally SET n = n - 1
    WHERE what = 'dossiers' AND name = CASE old.state WHEN 'leased' THEN 'ready' ELSE old.state END;
    INSERT INTO tally (what, name, n)
    VALUES ('dossiers', CASE new.state WHEN 'leased' THEN 'ready' ELSE new.state END, 1)
    ON CONFLICT (what, name) DO UPDATE SET n = n + 1;
    UPDATE tally SET n = n + (new.state IN ('accepted', 'unchanged')) - (old.state IN ('accepted', 'unchanged'))
    WHERE what = 'through' AND name = ''
      AND (new.state IN ('accepted', 'unchanged')) <> (old.state IN ('accepted', 'unchanged'))
      AND EXISTS (SELECT 1 FROM dossier WHERE id = new.dossier_id AND packet_state = 'accepted' AND steps_pending = 0);
END;

CREATE TRIGGER tally_superseded AFTER UPDATE OF state ON entry
WHEN (new.state = 'superseded') <> (old.state = 'superseded')
BEGIN
    UPDATE tally SET n = n + iif(new.state = 'superseded', 1, -1) WHERE what = 'superseded' AND name = '';
END;

CREATE TRIGGER tally_superseded_late AFTER INSERT ON entry WHEN new.state = 'superseded'
BEGIN
    UPDATE tally SET n = n + 1 WHERE what = 'superseded' AND name = '';
END;

CREATE TRIGGER tally_superseded_gone AFTER DELETE ON entry WHEN old.state = 'superseded'
BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'superseded' AND name = '';
END;

CREATE TRIGGER tally_newest AFTER UPDATE OF newest_entry_id ON dossier
WHEN new.newest_entry_id IS NOT old.newest_entry_id
BEGIN
    UPDATE tally SET n = n - 1
    WHERE what = 'dossiers' AND name = (SELECT CASE state WHEN 'leased' THEN 'ready' ELSE state END
                                        FROM entry WHERE id = old.newest_entry_id);
    INSERT INTO tally (what, name, n)
    SELECT 'dossiers', CASE state WHEN 'leased' THEN 'ready' ELSE state END, 1
    FROM entry WHERE id = new.newest_entry_id
    ON CONFLICT (what, name) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER tally_through AFTER UPDATE OF newest_entry_id, packet_state, steps_pending ON dossier
WHEN (new.packet_state = 'accepted' AND new.steps_pending = 0) <> (old.packet_state = 'accepted' AND old.steps_pending = 0)
     OR (new.newest_entry_id IS NOT old.newest_entry_id AND new.packet_state = 'accepted' AND new.steps_pending = 0)
BEGIN
    UPDATE tally SET n = n
        + (new.packet_state = 'accepted' AND new.steps_pending = 0
           AND EXISTS (SELECT 1 FROM entry WHERE id = new.newest_entry_id AND state IN ('accepted', 'unchanged')))
        - (old.packet_state = 'accepted' AND old.steps_pending = 0
           AND EXISTS (SELECT 1 FROM entry WHERE id = old.newest_entry_id AND state IN ('accepted', 'unchanged')))
    WHERE what = 'through' AND name = '';
END;

CREATE TRIGGER tally_owed AFTER UPDATE OF packet_state, steps_pending, adoption ON dossier
WHEN old.steps_pending <> new.steps_pending
     OR (new.steps_pending > 0
         AND ((old.packet_state = 'dead') <> (new.packet_state = 'dead') OR old.adoption IS NOT new.adoption))
BEGIN
    UPDATE tally SET n = n - old.steps_pending
    WHERE old.steps_pending > 0 AND what = 'owed'
      AND name = CASE WHEN old.packet_state = 'dead' THEN 'waiting' WHEN old.adoption = 'awaiting' THEN 'awaiting'
                      ELSE 'pending' END;
    UPDATE tally SET n = n + new.steps_pending
    WHERE new.steps_pending > 0 AND what = 'owed'
      AND name = CASE WHEN new.packet_state = 'dead' THEN 'waiting' WHEN new.adoption = 'awaiting' THEN 'awaiting'
                      ELSE 'pending' END;
END;

-- Of the rare ends of a step; the usual one, acknowledged, is what is left of all of them. A trigger
-- on every new row would cost more than the row, so whoever adds steps (one statement does) adds
-- their number to `all`.
CREATE TRIGGER tally_step_state AFTER UPDATE OF state ON step
WHEN (new.state IN ('withdrawn', 'presumed_sent') OR old.state IN ('withdrawn', 'presumed_sent'))
     AND new.state <> old.state
BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'steps' AND name = old.state;
    UPDATE tally SET n = n + 1 WHERE what = 'steps' AND name = new.state;
END;
