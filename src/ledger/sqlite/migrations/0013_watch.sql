-- What the watchdogs saw last: one row a property, and a part where it is looked at in several.
CREATE TABLE watch (
    code         TEXT NOT NULL,      -- watchdog.…
    part         TEXT NOT NULL,      -- e.g. the window of a quota; '' when there is one part only
    looked_at    INTEGER NOT NULL,
    -- Of a walk: the id behind which the next look goes on. Else what the judge remembers.
    position     INTEGER NOT NULL DEFAULT 0,
    carried      INTEGER NOT NULL DEFAULT 0,
    rounds       INTEGER NOT NULL DEFAULT 0,         -- walks that came to the end
    round_found  INTEGER NOT NULL DEFAULT 0,         -- in the round under way
    found        INTEGER NOT NULL DEFAULT 0,         -- what stands; 0: the property holds
    found_at     INTEGER,            -- when something was found last
    broken_since INTEGER,            -- NULL: it holds
    example      TEXT,               -- a dossier's code, or what was seen
    PRIMARY KEY (code, part)
) STRICT, WITHOUT ROWID;
