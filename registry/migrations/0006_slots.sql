-- What an owner wants of single slots, and which waiting tasks were failed before.

ALTER TABLE workers ADD COLUMN slots_desired TEXT NOT NULL DEFAULT '[]';   -- [{slot, desired}], without those that are active

CREATE INDEX tasks_failed_before ON tasks (pending_since) WHERE status = 'pending' AND failures > 0;
