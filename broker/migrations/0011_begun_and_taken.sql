-- When the code of the attempt was taken: long after that, whoever took it comes to no end any more.
ALTER TABLE consents ADD COLUMN code_taken_at INTEGER;

-- What a person acts as who signed in through an application: names of external identities, a JSON array.
ALTER TABLE sessions ADD COLUMN external_identities TEXT NOT NULL DEFAULT '[]';
