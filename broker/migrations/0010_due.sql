-- When a grant wants to be looked at: its token is due, a pause is over, whoever refreshes it should have come to an end.
-- NULL where there is nothing to refresh it with, and while nobody uses it.
ALTER TABLE grants ADD COLUMN due_at INTEGER;
-- When it was used last, to within minutes; NULL if that was never noted.
ALTER TABLE grants ADD COLUMN used_at INTEGER;
UPDATE grants SET due_at = refresh_after
    WHERE standing = 'live' AND reason = '' AND refresh_token IS NOT NULL AND holder <> 'service';

-- Asked for each provider client, each second.
CREATE INDEX grants_due ON grants (provider_client, due_at) WHERE due_at IS NOT NULL;
