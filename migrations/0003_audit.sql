-- The audit log of all nodes: one chain (docs/internals/audit.md). `document` is the record's hash (32 bytes) and its line.
CREATE TABLE audit_records (
    number bigint PRIMARY KEY,
    document bytea NOT NULL
);

-- 0: the newest record. 1: the last that was removed. `document` is number (8 bytes) and hash (32).
CREATE TABLE audit_links (
    item smallint PRIMARY KEY,
    document bytea NOT NULL
);

-- For people.
CREATE VIEW audit_log AS
    SELECT number, convert_from(substring(document FROM 33), 'UTF8')::json AS record, encode(substring(document FROM 1 FOR 32), 'hex') AS hash
    FROM audit_records;
