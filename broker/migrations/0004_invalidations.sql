-- Generations of grants that nobody uses any more. Every broker reads these twice a second from where it was: `number` is
-- the order in which they were committed, whatever the brokers' clocks say. One row for each grant, its latest.
CREATE TABLE invalidations (
    -- Of the grant, which need not be there any more.
    grant_id        TEXT    NOT NULL PRIMARY KEY,
    number          INTEGER NOT NULL UNIQUE,
    provider_client TEXT    NOT NULL,
    holder          TEXT    NOT NULL,
    -- This one and all before it.
    generation      INTEGER NOT NULL CHECK (generation >= 1),
    at              INTEGER NOT NULL
) STRICT;
CREATE INDEX invalidations_by_time ON invalidations (at);

-- The last number given. Whoever takes the next one holds this row until its commit, so that none becomes visible
-- after a later one.
CREATE TABLE invalidation_count (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    last        INTEGER NOT NULL
) STRICT;
INSERT INTO invalidation_count (id, last) VALUES (1, 0);

-- Those whose question nobody answered: what they hold is revoked at the provider.
CREATE INDEX consents_that_hold ON consents (expires_at) WHERE held IS NOT NULL;
