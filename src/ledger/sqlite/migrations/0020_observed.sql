-- What the portal really does, learnt from `call` rows by upkeep and kept when these are pruned.

-- Names of the fields that a look-up's answer showed, a JSON list; NULL for every other call.
ALTER TABLE call ADD COLUMN echoed TEXT;

CREATE TABLE observed_answer (
    service  TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    code     TEXT NOT NULL,          -- '' where the portal wrote none
    message  TEXT NOT NULL,          -- cleaned, numbers as #
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (service, outcome, code, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE observed_hour (
    service    TEXT NOT NULL,
    hour       INTEGER NOT NULL,     -- of the day in Vietnam
    n          INTEGER NOT NULL,
    total_ms   INTEGER NOT NULL,
    slowest_ms INTEGER NOT NULL,
    PRIMARY KEY (service, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE observed_field (
    service  TEXT NOT NULL,
    name     TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    shown    INTEGER NOT NULL,       -- look-ups that showed it
    asked    INTEGER NOT NULL,       -- look-ups since the first that did
    absent   INTEGER NOT NULL,       -- of them the last ones that did not
    is_gone  INTEGER NOT NULL,
    PRIMARY KEY (service, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE observed_change (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    service TEXT NOT NULL,
    about   TEXT NOT NULL
) STRICT;
CREATE INDEX observed_change_by_time ON observed_change (at);

CREATE TABLE observed_state (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    position            INTEGER NOT NULL,    -- id of the last call that was learnt from
    calls               INTEGER NOT NULL,
    until               INTEGER,             -- its time
    login_at            INTEGER,             -- when the session in use was given
    logins              INTEGER NOT NULL,
    longest_good_ms     INTEGER,
    refused             INTEGER NOT NULL,
    shortest_refused_ms INTEGER
) STRICT;
INSERT INTO observed_state (id, position, calls, logins, refused) VALUES (1, 0, 0, 0, 0);
