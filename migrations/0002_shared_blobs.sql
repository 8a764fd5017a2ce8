-- Where a blob's bytes lie in the bucket that the nodes share: `length` bytes of `object`, from byte `start` on; `place` is 'group' for a
-- blob among others, 'whole' for one that is all of its object. docs/internals/shared-blobs.md.
ALTER TABLE blob_locations
    ADD COLUMN place text,
    ADD COLUMN object uuid,
    ADD COLUMN start bigint,
    ADD COLUMN length bigint;
CREATE INDEX blob_locations_of_object ON blob_locations (object, sha256);

-- One row: what the bucket of this registry says that it belongs to.
CREATE TABLE shared_store (
    item smallint PRIMARY KEY CHECK (item = 1),
    id uuid NOT NULL
);
