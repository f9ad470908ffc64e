-- Until when nobody asks a grant's provider again, since a request gave no token; by the clock of the broker that wrote it.
ALTER TABLE grants ADD COLUMN pause_from INTEGER;
ALTER TABLE grants ADD COLUMN pause_until INTEGER;
-- Requests in a row that gave no token.
ALTER TABLE grants ADD COLUMN pause_failures INTEGER NOT NULL DEFAULT 0;
-- The attempt it follows, whose outcome is not known; 0 if it is.
ALTER TABLE grants ADD COLUMN pause_attempt INTEGER NOT NULL DEFAULT 0;
-- Flags: the next request is the last one there may be; an answer may have gone astray.
ALTER TABLE grants ADD COLUMN pause_is_before_the_last INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN pause_may_be_astray INTEGER NOT NULL DEFAULT 0;
-- The code of why.
ALTER TABLE grants ADD COLUMN pause_why TEXT NOT NULL DEFAULT '';
