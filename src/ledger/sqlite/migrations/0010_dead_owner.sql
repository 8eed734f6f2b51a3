-- 1: the holder also has the lock on the file beside the ledger, which the system takes away from a
-- process that died; whoever finds that lock free need not wait for the lease.
ALTER TABLE singleton ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
