-- The last test render of each worker, and what it came to on each slot.

CREATE TABLE test_renders (
    worker_id    TEXT PRIMARY KEY REFERENCES workers (id),
    id           TEXT NOT NULL UNIQUE,
    requested_at BIGINT NOT NULL
);
CREATE TABLE test_render_slots (
    worker_id         TEXT NOT NULL REFERENCES workers (id),
    slot              BIGINT NOT NULL,
    gpu_uuid          TEXT,
    status            TEXT NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    has_frame         BIGINT NOT NULL,                -- 1 once its frame has come
    render_millis     BIGINT,
    device            TEXT,
    peak_memory_bytes BIGINT,
    error             TEXT,
    PRIMARY KEY (worker_id, slot)
);
