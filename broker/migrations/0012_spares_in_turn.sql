-- The provider has refused the stored refresh token: the spare is what it is asked with next.
ALTER TABLE grants ADD COLUMN pause_spare_is_next INTEGER NOT NULL DEFAULT 0;

-- What was chosen of two accounts is said by what is held.
ALTER TABLE consents DROP COLUMN takes_held;
