-- Figures folded by a loop from attempts and points that ended long enough ago that no transaction can still
-- add to their time; what ended since is read from its own rows. But for gpu_totals, a row is written once.

CREATE TABLE figures (
    subject       TEXT NOT NULL,                     -- `acc_…`, `wrk_…`, or `network`
    quarter       BIGINT NOT NULL,                   -- Unix time in quarter hours: every time zone's offset is a multiple
    completed     BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    expired       BIGINT NOT NULL,
    released      BIGINT NOT NULL,
    cancelled     BIGINT NOT NULL,
    reward_micros BIGINT NOT NULL,
    points        BIGINT NOT NULL,
    PRIMARY KEY (subject, quarter)
);

CREATE TABLE gpu_figures (
    account_id    TEXT NOT NULL,
    day           BIGINT NOT NULL,                   -- Unix time in days
    worker_id     TEXT NOT NULL,
    gpu_uuid      TEXT NOT NULL,                     -- empty: the CPU
    gpu_name      TEXT,
    completed     BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    reward_micros BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, worker_id, gpu_uuid)
);

-- The sum of all rows of gpu_figures, so that all time is a row a GPU.
CREATE TABLE gpu_totals (
    account_id    TEXT NOT NULL,
    worker_id     TEXT NOT NULL,
    gpu_uuid      TEXT NOT NULL,
    gpu_name      TEXT,
    completed     BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    reward_micros BIGINT NOT NULL,
    PRIMARY KEY (account_id, worker_id, gpu_uuid)
);

CREATE TABLE folds (
    name  TEXT PRIMARY KEY,                          -- `quarter` for figures, `day` for gpu_figures and gpu_totals
    until BIGINT NOT NULL                            -- what ended before this moment is folded
);
INSERT INTO folds (name, until) VALUES ('quarter', 0), ('day', 0);

DROP INDEX points_worker;
DROP INDEX points_account;
CREATE INDEX points_worker ON points (worker_id, created_at, points);
CREATE INDEX points_account ON points (account_id, created_at);

-- What a worker has earned is asked with each of its heartbeats: the index alone answers.
DROP INDEX transfers_worker;
CREATE INDEX transfers_worker ON transfers (worker_id, kind, amount_micros) WHERE worker_id IS NOT NULL;

-- Balances: rewards are folded, and all else of an account is few rows.
CREATE INDEX transfers_to_other ON transfers (to_book) WHERE kind NOT IN ('reward', 'fee');

-- Money sent to a wallet: held by a book of the payout's own until it is sent, or returned when it failed.
CREATE TABLE payouts (
    id              TEXT PRIMARY KEY,
    account_id      TEXT NOT NULL REFERENCES accounts (id),
    amount_micros   BIGINT NOT NULL CHECK (amount_micros > 0),
    status          TEXT NOT NULL CHECK (status IN ('pending', 'sent', 'failed')),
    wallet_address  TEXT,                            -- the account's when the payout was made
    reference       TEXT,
    idempotency_key TEXT UNIQUE,
    created_at      BIGINT NOT NULL,
    ended_at        BIGINT,
    CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX payouts_account ON payouts (account_id, id);
