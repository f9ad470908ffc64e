-- When the name of a principal was taken away: whoever it was does not get one again. Until here only the record of it said so,
-- or an identity that came to a principal of a name.
ALTER TABLE principals ADD COLUMN released_at INTEGER;
UPDATE principals SET released_at = created_at
    WHERE kind = 'external'
      AND (EXISTS (SELECT 1 FROM identities i WHERE i.principal = principals.id AND i.linked <> 'created')
           OR EXISTS (SELECT 1 FROM audit a
                      WHERE a.event = 'identity.release' AND a.json LIKE '%"' || principals.id || '"%'));

-- Whether what is held becomes the grant's, once somebody has said so: 0 or 1.
ALTER TABLE consents ADD COLUMN takes_held INTEGER CHECK (takes_held IN (0, 1));
