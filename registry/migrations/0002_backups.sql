-- Which moments of this database are safe elsewhere.

CREATE TABLE backups (
    taken_at BIGINT PRIMARY KEY   -- the moment that the copy holds
);
