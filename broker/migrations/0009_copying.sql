-- One row while this database is being filled from another one: half of it is no store, and no broker starts on it.
CREATE TABLE copying (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- Which database it is filled from.
    source          TEXT    NOT NULL,
    began_at        INTEGER NOT NULL
) STRICT;
