-- People signed in with a browser, and the zone in which an account reads its times.

CREATE TABLE sessions (
    id               TEXT PRIMARY KEY,
    sha256           BYTEA NOT NULL UNIQUE,              -- of the cookie
    account_id       TEXT NOT NULL REFERENCES accounts (id),
    token_id         TEXT REFERENCES tokens (id),        -- signed in with it: revoking it ends the session; null after OpenID Connect
    scope            TEXT NOT NULL CHECK (scope IN ('read', 'full')),
    created_at       BIGINT NOT NULL,
    authenticated_at BIGINT NOT NULL,                    -- when the person last proved who they are
    last_seen_at     BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL                     -- whatever happens
);
CREATE INDEX sessions_account ON sessions (account_id);

ALTER TABLE accounts ADD COLUMN time_zone TEXT;          -- IANA; null: the browser's
