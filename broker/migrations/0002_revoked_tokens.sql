-- Every broker reads these each second; there are few of them among many tokens.
CREATE INDEX revoked_tokens_by_expiry ON tokens (expires_at) WHERE revoked_at IS NOT NULL;
