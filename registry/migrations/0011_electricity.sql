-- What workers' electricity cost, as their agents tell it.

ALTER TABLE workers ADD COLUMN electricity_currency TEXT;   -- of the last total told
ALTER TABLE workers ADD COLUMN electricity_micros BIGINT;

CREATE TABLE electricity (
    worker_id        TEXT NOT NULL REFERENCES workers (id),
    account_id       TEXT NOT NULL REFERENCES accounts (id),
    quarter          BIGINT NOT NULL,                 -- quarter hours since 1970, of when it was told
    currency         TEXT NOT NULL,
    cost_micros      BIGINT NOT NULL CHECK (cost_micros >= 0),
    network_micros   BIGINT NOT NULL,                 -- of it, what could be told in the network's currency
    unrated_micros   BIGINT NOT NULL,                 -- of it, what could not
    exchange_rate    TEXT,
    exchange_rate_at BIGINT,
    PRIMARY KEY (worker_id, quarter, currency)
);
CREATE INDEX electricity_account ON electricity (account_id, quarter);
