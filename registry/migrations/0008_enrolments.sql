-- Keys that agents trade for workers of their own. A key is kept as its hash, and counted under its row's lock.

CREATE TABLE enrolments (
    id           TEXT PRIMARY KEY,
    account_id   TEXT NOT NULL REFERENCES accounts (id),
    name_pattern TEXT NOT NULL,
    tags         TEXT NOT NULL DEFAULT '[]',          -- JSON, given to every worker made
    sha256       BYTEA NOT NULL UNIQUE,
    uses_max     BIGINT NOT NULL CHECK (uses_max > 0),
    used         BIGINT NOT NULL DEFAULT 0 CHECK (used >= 0),
    next_number  BIGINT NOT NULL DEFAULT 1,           -- of the next worker's name
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT,
    CHECK (used <= uses_max)
);
CREATE INDEX enrolments_account ON enrolments (account_id, id);
