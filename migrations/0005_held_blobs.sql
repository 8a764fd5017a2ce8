-- A blob that only the disk of one node has until it is in the bucket: `place` is 'held', `node` its number, `object` null.
ALTER TABLE blob_locations ADD COLUMN node bigint;
CREATE INDEX blob_locations_of_node ON blob_locations (node, sha256) WHERE node IS NOT NULL;
