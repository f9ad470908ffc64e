-- What all brokers together have spent of how often one provider may be asked.
CREATE TABLE provider_budgets (
    -- Host, and port if that is not the usual one.
    provider    TEXT    NOT NULL PRIMARY KEY,
    -- Until when it is spent, in microseconds since 1970.
    spent_until INTEGER NOT NULL
) STRICT;

-- Of what wants to be looked at, the most lately used come first: the index alone tells which.
DROP INDEX grants_due;
CREATE INDEX grants_due ON grants (provider_client, due_at, used_at, intent_owner, id, standing, reason)
    WHERE due_at IS NOT NULL;
-- Since when the token has been due of which there is no successor yet, whatever was tried since.
CREATE INDEX grants_overdue ON grants (provider_client, refresh_after, used_at, intent_owner, standing, reason, due_at)
    WHERE due_at IS NOT NULL;

-- Who asks for the first token of a client of its own: there is no grant yet beside which that could be written.
CREATE TABLE first_intents (
    grant_id   TEXT    NOT NULL PRIMARY KEY,
    owner      TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    deadline   INTEGER NOT NULL
) STRICT;
