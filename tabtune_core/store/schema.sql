-- The workspace's database. Times are unix seconds. Ids are 12 hexadecimal digits that the store made.

CREATE TABLE IF NOT EXISTS sweeps (
    id      TEXT PRIMARY KEY,   -- made by the store
    name    TEXT NOT NULL,      -- as the person typed it; may be empty
    created REAL NOT NULL       -- unix seconds
);

CREATE TABLE IF NOT EXISTS runs (
    id              TEXT PRIMARY KEY,   -- made by the store; also the name of the run's folder
    sweep           TEXT NOT NULL REFERENCES sweeps (id),
    name            TEXT NOT NULL,      -- what a row or a curve is called, for example "LoRA r=8"
    status          TEXT NOT NULL,      -- queued, running, waiting (at a rung), finished, stopped, diverged, outrun (at a rung), cancelled, failed or interrupted
    settings        TEXT NOT NULL,      -- RunSettings as JSON, never changed
    position        REAL NOT NULL,      -- place in the queue, smallest first; no unit
    created         REAL NOT NULL,      -- unix seconds
    started         REAL,               -- unix seconds at which a worker took it, the last time; NULL until then
    ended           REAL,               -- unix seconds; NULL until it ended
    heartbeat       REAL,               -- unix seconds of the last sign of life of the run's process
    pid             INTEGER,            -- process id: the worker's at first, then the run's own
    identity        TEXT,               -- creation time of that process, in unix seconds; NULL while only a worker has it
    wish            TEXT,               -- 'stop' (and keep the best) or 'cancel' (and discard), asked for while running
    error           TEXT,               -- for the person: what happened and what to do
    result          TEXT,               -- RunFinished as JSON; bytes and seconds are in its field names
    retried_as      TEXT,               -- id of the run that repeats this one
    note            TEXT NOT NULL DEFAULT '',   -- what a person wrote about it
    archived        INTEGER NOT NULL DEFAULT 0, -- 1: put away by a person; no unit
    slot            TEXT NOT NULL DEFAULT '',   -- where the worker put it: a GPU such as 'cuda:1', or 'cpu'; empty while queued
    executor        TEXT NOT NULL DEFAULT '',   -- name of the executor, such as 'local'; empty while queued
    device          TEXT NOT NULL DEFAULT '',   -- what its costs are measured on: 'CPU' or the name of a GPU; empty until it is planned
    node            TEXT NOT NULL DEFAULT '',   -- name of the machine that it is carried out on; empty like executor
    rung            INTEGER NOT NULL DEFAULT -1, -- rungs passed by a run that pauses for the other learning rates of its rank; -1: it never pauses
    resumptions     INTEGER NOT NULL DEFAULT 0  -- how many times it was queued again after an interruption; no unit
);
CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status, position);
CREATE INDEX IF NOT EXISTS runs_by_sweep ON runs (sweep, position);

CREATE TABLE IF NOT EXISTS searches (
    sweep   TEXT PRIMARY KEY REFERENCES sweeps (id) ON DELETE CASCADE, -- the sweep that holds its runs
    seconds REAL NOT NULL,              -- how long it may take
    spent   REAL NOT NULL DEFAULT 0,    -- seconds during which its runs ran
    asked   TEXT NOT NULL,              -- JSON: the settings to start from, runs for the end, sizes of the table
    ended   TEXT                        -- for the person: why it asks for no more runs; NULL while it goes on
);

CREATE TABLE IF NOT EXISTS jobs (
    id              TEXT PRIMARY KEY,   -- made by the store; also the name of the job's folder
    kind            TEXT NOT NULL,      -- a name in tabtune_core.store.jobs.KINDS
    arguments       TEXT NOT NULL,      -- JSON
    status          TEXT NOT NULL,      -- queued, running, finished, failed, interrupted or cancelled
    created         REAL NOT NULL,      -- unix seconds
    started         REAL,               -- unix seconds at which a worker took it; NULL while queued
    ended           REAL,               -- unix seconds; NULL until it ended
    pid             INTEGER,            -- process id: the worker's at first, then the job's own
    identity        TEXT,               -- creation time of that process, in unix seconds; NULL while only a worker has it
    error           TEXT,               -- for the person: what happened and what to do
    result          TEXT,               -- JSON; NULL unless it finished
    wish            TEXT                -- NULL or 'cancel': what a person asked of it while it ran
);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, created);

CREATE TABLE IF NOT EXISTS events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival over all runs; no unit
    run     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    time    REAL NOT NULL,                      -- unix seconds at which it was written
    kind    TEXT NOT NULL,                      -- class name of the event
    payload TEXT NOT NULL                       -- its fields as JSON, NaN and Infinity included; units are in the field names
);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (run, kind, seq);
