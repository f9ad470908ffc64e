-- Times are Unix milliseconds. What is sealed is a BLOB; everything else is an id or public.

CREATE TABLE principals (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL CHECK (kind IN ('external', 'user', 'virtual_account')),
    -- E-mail address or name of the virtual account: one principal each.
    name        TEXT    CHECK ((name IS NULL) = (kind = 'external')),
    created_at  INTEGER NOT NULL,
    UNIQUE (kind, name)
) STRICT;

CREATE TABLE identities (
    issuer      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    principal   TEXT    NOT NULL REFERENCES principals (id),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;

CREATE TABLE manifest_revision (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    revision    INTEGER NOT NULL
) STRICT;
INSERT INTO manifest_revision (id, revision) VALUES (1, 0);

CREATE TABLE manifests (
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

-- One row for each manifest of each revision: what it replaced, or NULL if it was new.
CREATE TABLE manifest_history (
    revision    INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    replaced    TEXT,
    actor       TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (revision, kind, name)
) STRICT;

CREATE TABLE secret_groups (
    name        TEXT    NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE secret_owners (
    secret_group TEXT   NOT NULL REFERENCES secret_groups (name),
    owner       TEXT    NOT NULL,
    PRIMARY KEY (secret_group, owner)
) STRICT;

CREATE TABLE secrets (
    secret_group TEXT   NOT NULL REFERENCES secret_groups (name),
    key         TEXT    NOT NULL,
    generation  INTEGER NOT NULL CHECK (generation >= 1),
    value       BLOB    NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (secret_group, key)
) STRICT;

CREATE TABLE grants (
    id              TEXT    NOT NULL PRIMARY KEY,
    provider_client TEXT    NOT NULL,
    holder          TEXT    NOT NULL,
    auth_revision   TEXT    NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 1),
    access_token    BLOB    NOT NULL,
    issued_at       INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    refresh_after   INTEGER NOT NULL,
    UNIQUE (provider_client, holder, auth_revision)
) STRICT;

CREATE TABLE tokens (
    id          TEXT    NOT NULL PRIMARY KEY,
    hash        BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    principal   TEXT    NOT NULL REFERENCES principals (id),
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

CREATE TABLE keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    purpose     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    value       BLOB    NOT NULL
) STRICT;
CREATE INDEX keys_by_purpose ON keys (purpose, created_at);

CREATE TABLE audit (
    sequence    INTEGER NOT NULL PRIMARY KEY CHECK (sequence >= 1),
    previous    BLOB    NOT NULL CHECK (length(previous) = 32),
    hash        BLOB    NOT NULL CHECK (length(hash) = 32),
    event       TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    server      TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    json        TEXT    NOT NULL
) STRICT;

-- The highest batch number of each proxy's worker.
CREATE TABLE reports (
    proxy       TEXT    NOT NULL,
    worker      TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    PRIMARY KEY (proxy, worker, epoch)
) STRICT;

-- Batch numbers below it that have not come yet.
CREATE TABLE report_gaps (
    proxy       TEXT    NOT NULL,
    worker      TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL CHECK (last >= first),
    PRIMARY KEY (proxy, worker, epoch, first)
) STRICT;

-- Written to find out whether the store can be written.
CREATE TABLE probe (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    count       INTEGER NOT NULL
) STRICT;
INSERT INTO probe (id, count) VALUES (1, 0);
