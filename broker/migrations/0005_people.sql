-- How an identity came to its principal: with it, by its verified e-mail address, or by an operator.
ALTER TABLE identities ADD COLUMN linked TEXT NOT NULL DEFAULT 'email' CHECK (linked IN ('created', 'email', 'operator'));
UPDATE identities SET linked = 'created'
    WHERE created_at = (SELECT p.created_at FROM principals p WHERE p.id = identities.principal);

-- Until here a second subject of one issuer joined by its address alone. Only an operator says that it is the same
-- person: of those there are the first one stays.
DELETE FROM identities WHERE EXISTS (
    SELECT 1 FROM identities first
    WHERE first.principal = identities.principal AND first.issuer = identities.issuer
      AND (first.created_at < identities.created_at
           OR (first.created_at = identities.created_at AND first.subject < identities.subject)));
-- Of two brokers that see two subjects at once, one links its own.
CREATE UNIQUE INDEX identities_by_principal ON identities (principal, issuer) WHERE linked <> 'operator';

-- Of the ID token that the person signed in with: names of teams, a JSON array.
ALTER TABLE sessions ADD COLUMN teams TEXT NOT NULL DEFAULT '[]';

-- The principal that agreed to it: the holder, or an owner of that virtual account.
ALTER TABLE grants ADD COLUMN consented_by TEXT REFERENCES principals (id);
