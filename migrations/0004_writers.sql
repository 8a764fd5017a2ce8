-- Who changes the catalog, one row for each start of a program, and which of its groups of changes was committed last. A program that
-- lost its connection while it committed finds out here. Old rows are deleted when a program starts.
CREATE TABLE writers (
    writer uuid PRIMARY KEY,
    group_number bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
