-- Master keys that were ever used for what is stored here, by the ids that sealed fields name them by.
CREATE TABLE master_keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    -- Data keys it may have wrapped; counted ahead, so that a crash never leaves too few.
    wraps           INTEGER NOT NULL CHECK (wraps >= 0),
    first_used_at   INTEGER NOT NULL
) STRICT;

-- Sealed fields by their first 20 bytes, which say how they were sealed.
CREATE INDEX grants_by_access_token_seal ON grants (substr(access_token, 1, 20), id);
CREATE INDEX grants_by_refresh_token_seal ON grants (substr(refresh_token, 1, 20), id);
CREATE INDEX grants_by_spare_seal ON grants (substr(spare, 1, 20), id);
CREATE INDEX consents_by_state_seal ON consents (substr(state, 1, 20), id);
CREATE INDEX consents_by_verifier_seal ON consents (substr(verifier, 1, 20), id);
CREATE INDEX consents_by_held_seal ON consents (substr(held, 1, 20), id);
CREATE INDEX sign_ins_by_secrets_seal ON sign_ins (substr(secrets, 1, 20), id);
CREATE INDEX secrets_by_value_seal ON secrets (substr(value, 1, 20), (secret_group || ':' || key));
CREATE INDEX keys_by_value_seal ON keys (substr(value, 1, 20), id);
