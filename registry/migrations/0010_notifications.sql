-- How an account is told what happens: where to, what about, what is wrong now, and what is on its way.

CREATE TABLE channels (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    kind       TEXT NOT NULL CHECK (kind IN ('email', 'webhook', 'telegram')),
    target     TEXT NOT NULL,                        -- an address, a URL, or the id of a chat
    secret     TEXT,                                 -- what a webhook is signed with, or the bot's token
    created_at BIGINT NOT NULL,
    tested_at  BIGINT
);
CREATE INDEX channels_account ON channels (account_id);

-- An account without a row hears of everything, at any hour.
CREATE TABLE notification_settings (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id),
    quiet_from TEXT,                                 -- HH:MM in the account's zone; both or neither
    quiet_to   TEXT,
    events     TEXT NOT NULL,                        -- JSON
    CHECK ((quiet_from IS NULL) = (quiet_to IS NULL))
);

-- Something that is wrong with a worker, from when it was noticed until it was over for good.
CREATE TABLE incidents (
    id          TEXT PRIMARY KEY,
    account_id  TEXT NOT NULL REFERENCES accounts (id),
    worker_id   TEXT NOT NULL REFERENCES workers (id),
    event       TEXT NOT NULL,
    subject     TEXT NOT NULL,                       -- which check; empty where there is only one
    began_at    BIGINT NOT NULL,
    clear_since BIGINT,                              -- it looks well since then, and may come back
    ended_at    BIGINT
);
CREATE UNIQUE INDEX incidents_open ON incidents (worker_id, event, subject) WHERE ended_at IS NULL;
CREATE INDEX incidents_account ON incidents (account_id) WHERE ended_at IS NULL;
CREATE INDEX incidents_ended ON incidents (ended_at) WHERE ended_at IS NOT NULL;

-- Messages on their way, one row for each channel.
CREATE TABLE deliveries (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    channel_id TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    event      TEXT NOT NULL,
    phase      TEXT NOT NULL CHECK (phase IN ('began', 'ended', 'once')),
    worker_id  TEXT,
    title      TEXT NOT NULL,
    text       TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('pending', 'sent', 'failed')),
    tries      BIGINT NOT NULL DEFAULT 0,
    due_at     BIGINT NOT NULL,
    error      TEXT,                                 -- why the last try came to nothing
    created_at BIGINT NOT NULL,
    ended_at   BIGINT,
    CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE status = 'pending';
CREATE INDEX deliveries_waiting ON deliveries (channel_id) WHERE status = 'pending';
CREATE INDEX deliveries_account ON deliveries (account_id, id);
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL;
