-- Until here a grant held a token of client credentials and nothing else: what is dropped is asked for again.
DROP TABLE grants;

CREATE TABLE grants (
    id              TEXT    NOT NULL PRIMARY KEY,
    provider_client TEXT    NOT NULL,
    -- A principal's id, or `service`.
    holder          TEXT    NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 1),
    standing        TEXT    NOT NULL CHECK (standing IN ('live', 'needs_consent', 'revoked')),
    -- Why, where it is not live.
    reason          TEXT    NOT NULL,
    -- What the person agreed to: JSON arrays of text.
    scopes          TEXT    NOT NULL,
    auth_revisions  TEXT    NOT NULL,
    -- The provider's own id of the account, where it tells one.
    account         TEXT,
    consented_at    INTEGER,
    access_token    BLOB,
    refresh_token   BLOB,
    issued_at       INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    refresh_after   INTEGER NOT NULL,
    -- A refresh token whose commit lost, and the generation it was sealed for.
    spare           BLOB,
    spare_generation INTEGER,
    -- The right to refresh this generation.
    intent_owner    TEXT,
    intent_attempt  INTEGER NOT NULL DEFAULT 0,
    intent_started_at INTEGER,
    intent_deadline INTEGER,
    UNIQUE (provider_client, holder),
    CHECK ((standing = 'live') = (access_token IS NOT NULL)),
    CHECK ((spare IS NULL) = (spare_generation IS NULL)),
    CHECK ((intent_owner IS NULL) = (intent_deadline IS NULL) AND (intent_owner IS NULL) = (intent_started_at IS NULL))
) STRICT;
CREATE INDEX grants_by_holder ON grants (holder);
CREATE INDEX grants_with_intent ON grants (intent_deadline) WHERE intent_owner IS NOT NULL;

-- Consents in progress.
CREATE TABLE consents (
    id              TEXT    NOT NULL PRIMARY KEY,
    provider_client TEXT    NOT NULL,
    -- Whose grant it is to be.
    holder          TEXT    NOT NULL REFERENCES principals (id),
    server          TEXT    NOT NULL,
    -- The caller's subjects, a JSON array: which servers the grant may serve.
    subjects        TEXT    NOT NULL,
    -- Scopes that the server asked for beyond its manifest, a JSON array.
    extra_scopes    TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    -- Counts the times it was begun; 0: not yet.
    attempt         INTEGER NOT NULL,
    -- Of the attempt: the browser's session, sealed state and verifier, what is asked for.
    session         BLOB    CHECK (length(session) = 32),
    state           BLOB,
    verifier        BLOB,
    scopes          TEXT,
    auth_revisions  TEXT,
    begun_at        INTEGER,
    code_taken      INTEGER NOT NULL,
    -- Sealed tokens of another account, until the person says whether they replace what there is.
    held            BLOB,
    -- How it ended: NULL while it has not.
    outcome         TEXT,
    CHECK ((attempt = 0) = (session IS NULL))
) STRICT;
CREATE INDEX consents_by_holder ON consents (holder, provider_client, server);
CREATE INDEX consents_by_expiry ON consents (expires_at);

-- Browsers that are signed in. The session's secret is not kept, only its hash.
CREATE TABLE sessions (
    hash            BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    principal       TEXT    NOT NULL REFERENCES principals (id),
    -- How the person signed in, for audit: the issuer, `link` or the application's issuer.
    signed_in_at    TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_principal ON sessions (principal);

-- Sign-ins in progress.
CREATE TABLE sign_ins (
    id              TEXT    NOT NULL PRIMARY KEY,
    kind            TEXT    NOT NULL CHECK (kind IN ('application', 'link', 'oidc')),
    -- Hash of the cookie of the browser that began it; NULL for a link until it is opened.
    browser         BLOB    CHECK (length(browser) = 32),
    -- Sealed: state, nonce, verifier.
    secrets         BLOB,
    -- Where to go on: a consent's id, or empty for the person's connections.
    consent         TEXT    NOT NULL,
    -- Who it is, once that is known.
    principal       TEXT    REFERENCES principals (id),
    -- Hash of the code that must come back through the browser.
    code            BLOB    CHECK (length(code) = 32),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_at         INTEGER
) STRICT;
CREATE INDEX sign_ins_by_expiry ON sign_ins (expires_at);
