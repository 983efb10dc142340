-- One schema for SQLite and PostgreSQL: BIGINT for time (Unix milliseconds), flags and money (micros),
-- TEXT for ids and JSON, BYTEA for bytes, DOUBLE PRECISION for ratios. Every status stands in its CHECK
-- from the first, because a constraint cannot be added later on both databases.

CREATE TABLE accounts (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    roles           TEXT NOT NULL,                   -- comma-separated, sorted
    wallet_address  TEXT,
    balance_version BIGINT NOT NULL DEFAULT 0,       -- written before a balance is read to spend from it: a row lock on both
    created_at      BIGINT NOT NULL
);

CREATE TABLE workers (
    id                TEXT PRIMARY KEY,
    account_id        TEXT NOT NULL REFERENCES accounts (id),
    name              TEXT NOT NULL,
    name_key          TEXT NOT NULL,                 -- the name in lower case: what must be free
    tags              TEXT NOT NULL DEFAULT '[]',
    desired           TEXT NOT NULL DEFAULT 'active' CHECK (desired IN ('active', 'paused', 'draining')),
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    archived_at       BIGINT,
    last_heartbeat_at BIGINT,
    online_since      BIGINT,
    stopped_at        BIGINT,                        -- it said goodbye then, and was not heard since
    online_millis     BIGINT NOT NULL DEFAULT 0,     -- all time, online and able to work
    machine_id        TEXT,
    ip                TEXT,
    report            TEXT                           -- the last HeartbeatRequest, as JSON
);
CREATE UNIQUE INDEX workers_name ON workers (account_id, name_key) WHERE archived_at IS NULL;

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    account_id   TEXT NOT NULL REFERENCES accounts (id),
    worker_id    TEXT REFERENCES workers (id),       -- set: opens the agent calls of that worker, and nothing else
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL CHECK (scope IN ('read', 'full')),
    sha256       BYTEA NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX tokens_account ON tokens (account_id);
CREATE INDEX tokens_worker ON tokens (worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE scenes (
    sha256     TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id), -- only its uploader may name it
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (sha256, account_id)
);

CREATE TABLE jobs (
    id                   TEXT PRIMARY KEY,
    account_id           TEXT NOT NULL REFERENCES accounts (id),
    name                 TEXT NOT NULL,
    status               TEXT NOT NULL CHECK (status IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')),
    error                TEXT,
    priority             BIGINT NOT NULL DEFAULT 0,
    first_frame          BIGINT NOT NULL,
    last_frame           BIGINT NOT NULL CHECK (last_frame >= first_frame),
    frames_per_task      BIGINT NOT NULL CHECK (frames_per_task > 0),
    frame_cost_micros    BIGINT NOT NULL CHECK (frame_cost_micros >= 0),
    fee_ppm              BIGINT NOT NULL CHECK (fee_ppm BETWEEN 0 AND 1000000),
    width                BIGINT,
    height               BIGINT,
    task_timeout_seconds BIGINT NOT NULL CHECK (task_timeout_seconds > 0),  -- of one attempt at a whole task
    scene_sha256         TEXT NOT NULL,
    scene_bytes          BIGINT NOT NULL,
    idempotency_key      TEXT,
    created_at           BIGINT NOT NULL,
    ended_at             BIGINT,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    UNIQUE (account_id, idempotency_key)
);
CREATE INDEX jobs_open ON jobs (priority DESC, created_at, id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_account ON jobs (account_id, id);

CREATE TABLE tasks (
    id            TEXT PRIMARY KEY,
    job_id        TEXT NOT NULL REFERENCES jobs (id),
    first_frame   BIGINT NOT NULL,
    last_frame    BIGINT NOT NULL CHECK (last_frame >= first_frame),
    status        TEXT NOT NULL CHECK (status IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')),
    attempt       TEXT,                              -- the latest attempt; expiry leaves it, so that its holder can come back
    failures      BIGINT NOT NULL DEFAULT 0,         -- failed attempts
    expiries      BIGINT NOT NULL DEFAULT 0,         -- times its lease ran out, less those taken back
    pending_since BIGINT NOT NULL,
    ended_at      BIGINT,
    CHECK (status <> 'running' OR attempt IS NOT NULL),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    UNIQUE (job_id, first_frame)
);
CREATE INDEX tasks_pending ON tasks (job_id, first_frame) WHERE status = 'pending';
CREATE INDEX tasks_status ON tasks (job_id, status);

CREATE TABLE attempts (
    id              TEXT PRIMARY KEY,
    task_id         TEXT NOT NULL REFERENCES tasks (id),
    job_id          TEXT NOT NULL REFERENCES jobs (id),
    worker_id       TEXT NOT NULL REFERENCES workers (id),
    account_id      TEXT NOT NULL REFERENCES accounts (id),  -- the provider's
    slot            BIGINT NOT NULL,
    gpu_uuid        TEXT,
    gpu_name        TEXT,
    ask_id          TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'running', 'paused', 'completed', 'failed', 'expired', 'released', 'cancelled')),
    error           TEXT,
    log             TEXT,
    progress_ratio  DOUBLE PRECISION,
    render_seconds  DOUBLE PRECISION,
    cost_micros     BIGINT NOT NULL,                 -- what the job pays for the task
    reward_micros   BIGINT,                          -- what the attempt earned
    leased_at       BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    deadline_at     BIGINT NOT NULL,                 -- whatever heartbeats say
    started_at      BIGINT,
    ended_at        BIGINT,
    CHECK ((status IN ('pending', 'running', 'paused')) = (ended_at IS NULL)),
    CHECK ((status = 'completed') = (reward_micros IS NOT NULL))
);
CREATE UNIQUE INDEX attempts_ask ON attempts (worker_id, ask_id, slot);
CREATE INDEX attempts_task ON attempts (task_id, status);
CREATE INDEX attempts_worker ON attempts (worker_id, id);
CREATE INDEX attempts_open ON attempts (worker_id) WHERE status IN ('pending', 'running', 'paused');
CREATE INDEX attempts_account ON attempts (account_id, id);
CREATE INDEX attempts_held ON attempts (expires_at) WHERE status IN ('pending', 'running', 'paused');
CREATE INDEX attempts_ended ON attempts (account_id, ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE frames (
    attempt_id TEXT NOT NULL REFERENCES attempts (id),
    frame      BIGINT NOT NULL,
    sha256     TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    width      BIGINT NOT NULL,
    height     BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (attempt_id, frame)
);

-- The double-entry ledger: rows are only ever inserted. A book is `acc_…` (an account's balance), `job_…`
-- (a job's escrow), `fees`, `issued` (where credit comes from) or `paid_out` (wallets).
CREATE TABLE transfers (
    id            TEXT PRIMARY KEY,
    key           TEXT NOT NULL UNIQUE,              -- names the cause, so that it can happen only once
    kind          TEXT NOT NULL CHECK (kind IN ('credit', 'escrow', 'reward', 'fee', 'refund', 'payout', 'correction')),
    from_book     TEXT NOT NULL,
    to_book       TEXT NOT NULL CHECK (to_book <> from_book),
    amount_micros BIGINT NOT NULL CHECK (amount_micros > 0),
    worker_id     TEXT,
    attempt_id    TEXT,
    created_at    BIGINT NOT NULL
);
CREATE INDEX transfers_from ON transfers (from_book, created_at);
CREATE INDEX transfers_to ON transfers (to_book, created_at);
CREATE INDEX transfers_worker ON transfers (worker_id, created_at) WHERE worker_id IS NOT NULL;

CREATE TABLE points (
    key        TEXT PRIMARY KEY,                     -- names the cause: frames of a task, or an hour online
    account_id TEXT NOT NULL,
    worker_id  TEXT NOT NULL,
    points     BIGINT NOT NULL CHECK (points > 0),
    created_at BIGINT NOT NULL
);
CREATE INDEX points_worker ON points (worker_id);
CREATE INDEX points_account ON points (account_id);
