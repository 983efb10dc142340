-- What was done to an account and by whom, and who signs in to it through OpenID Connect.

CREATE TABLE audit_events (
    id               TEXT PRIMARY KEY,
    at               BIGINT NOT NULL,
    account_id       TEXT REFERENCES accounts (id),      -- whose things; null: the network's
    actor_account_id TEXT REFERENCES accounts (id),      -- who did it; null: the registry itself, or its command line
    actor            TEXT NOT NULL CHECK (actor IN ('session', 'token', 'cli', 'system')),
    action           TEXT NOT NULL,                      -- such as token_created
    subject          TEXT NOT NULL,                      -- what it was done to: an id, or a name
    detail           TEXT NOT NULL                       -- JSON
);
CREATE INDEX audit_events_account ON audit_events (account_id, id);

CREATE TABLE oidc_identities (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX oidc_identities_account ON oidc_identities (account_id);

ALTER TABLE sessions ADD COLUMN browser TEXT;            -- as it named itself; null when it did not
