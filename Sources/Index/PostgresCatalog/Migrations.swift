/// The steps of `migrations/`, in their order: the texts here and there are the same, which a test sees to. A step that was released is never
/// changed.
enum Migrations {
    struct Step {
        let number: Int
        let name: String
        let sql: String

        init(_ number: Int, _ name: String, _ sql: String) {
            self.number = number
            self.name = String(String(10_000 + number).dropFirst()) + "_" + name
            self.sql = sql
        }
    }

    static let all = [
        Step(1, "catalog", catalog), Step(2, "shared_blobs", sharedBlobs), Step(3, "audit", audit), Step(4, "writers", writers),
        Step(5, "held_blobs", heldBlobs),
    ]

    private static let catalog = #"""
        -- The catalog: which repositories, packages, versions, assets, tags and records exist, what they point to,
        -- and the log of how they changed.
        -- docs/internals/postgres-catalog.md says who writes what, and when.
        --
        -- `document` is the row as the program reads it (docs/internals/catalog.md). The other columns beside the key say what is in it, for people
        -- and their queries: nothing reads them back, and they are written with the document.
        -- Names have the collation "C": an index lists them in the order of their bytes, which is the order of every listing.

        -- 1: the newest revision, locked by whoever changes anything. 2: the oldest revision the log still has.
        CREATE TABLE catalog_state (
            item smallint PRIMARY KEY,
            number bigint NOT NULL,
            document bytea NOT NULL
        );
        INSERT INTO catalog_state VALUES (1, 0, '\x010000000000000000');

        CREATE TABLE repositories (
            repository_id uuid PRIMARY KEY,
            key text COLLATE "C" NOT NULL,
            name text NOT NULL,
            format text NOT NULL,
            kind text NOT NULL,
            is_public boolean NOT NULL,
            quota_bytes bigint,
            upstream_url text,
            created timestamptz NOT NULL,
            updated timestamptz NOT NULL,
            document bytea NOT NULL
        );

        CREATE TABLE repository_keys (
            key text COLLATE "C" PRIMARY KEY,
            repository_id uuid NOT NULL,
            document bytea NOT NULL
        );

        -- Apart from the repository, so that a change inside it does not rewrite its description. `revision`: of the last change inside it.
        CREATE TABLE repository_totals (
            repository_id uuid PRIMARY KEY,
            assets bigint NOT NULL,
            packages bigint NOT NULL,
            bytes bigint NOT NULL,
            deletions bigint NOT NULL,
            trash_bytes bigint NOT NULL,
            revision bigint NOT NULL,
            document bytea NOT NULL
        ) WITH (fillfactor = 50);

        CREATE TABLE packages (
            repository_id uuid,
            name text COLLATE "C",
            display_name text,
            created timestamptz NOT NULL,
            revision bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, name)
        );

        CREATE TABLE versions (
            repository_id uuid,
            package text COLLATE "C",
            name text COLLATE "C",
            state text NOT NULL,
            manifest_sha256 bytea,
            created timestamptz NOT NULL,
            creator text NOT NULL,
            revision bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, package, name)
        );

        CREATE TABLE tags (
            repository_id uuid,
            package text COLLATE "C",
            name text COLLATE "C",
            version text COLLATE "C" NOT NULL,
            updated timestamptz NOT NULL,
            revision bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, package, name)
        );

        CREATE TABLE links (
            repository_id uuid,
            package text COLLATE "C",
            relation text COLLATE "C",
            target text COLLATE "C",
            version text COLLATE "C",
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, package, relation, target, version)
        );
        CREATE INDEX links_of_version ON links (repository_id, package, version, relation, target);

        -- An asset without a package or a version has an empty one.
        CREATE TABLE assets (
            repository_id uuid,
            path text COLLATE "C",
            package text COLLATE "C" NOT NULL,
            version text COLLATE "C" NOT NULL,
            sha256 bytea NOT NULL,
            size bigint NOT NULL,
            content_type text NOT NULL,
            is_release boolean NOT NULL,
            created timestamptz NOT NULL,
            creator text NOT NULL,
            revision bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, path)
        );
        CREATE INDEX assets_of_package ON assets (repository_id, package, version, path);

        -- A release was deleted here: its path takes no other bytes.
        CREATE TABLE tombstones (
            repository_id uuid,
            path text COLLATE "C",
            sha256 bytea NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, path)
        );

        -- What a remote repository has learned from a document of its upstream.
        CREATE TABLE learned_pages (
            repository_id uuid,
            view text COLLATE "C",
            fetched timestamptz NOT NULL,
            fresh_until timestamptz NOT NULL,
            revision bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, view)
        );

        -- What an id of the REST API stands for.
        CREATE TABLE entities (
            id uuid PRIMARY KEY,
            repository_id uuid NOT NULL,
            document bytea NOT NULL
        );

        -- Why a blob is kept. Reason 1: the asset at path `name`; 2: the manifest of `version` of package `name`; 3: the learned page `name`;
        -- 4: the deletion of `revision`.
        CREATE TABLE pins (
            sha256 bytea,
            reason smallint,
            repository_id uuid,
            name text COLLATE "C",
            version text COLLATE "C",
            revision bigint,
            PRIMARY KEY (sha256, reason, repository_id, name, version, revision)
        );

        -- Since when nothing pins the blob.
        CREATE TABLE unpinned_blobs (
            sha256 bytea PRIMARY KEY,
            since timestamptz NOT NULL,
            document bytea NOT NULL
        );

        -- Where a blob's bytes lie. A blob without a row is not stored.
        CREATE TABLE blob_locations (
            sha256 bytea PRIMARY KEY,
            document bytea NOT NULL
        );

        -- What inspectors said of a blob; `state` is the strictest.
        CREATE TABLE verdicts (
            sha256 bytea PRIMARY KEY,
            state text NOT NULL,
            document bytea NOT NULL
        );

        -- Users, tokens, permissions and the like; the room that owns a kind writes and reads its document.
        CREATE TABLE records (
            kind smallint,
            id text COLLATE "C",
            unique_key text COLLATE "C",
            revision bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (kind, id)
        );

        CREATE TABLE record_keys (
            kind smallint,
            unique_key text COLLATE "C",
            document bytea NOT NULL,
            PRIMARY KEY (kind, unique_key)
        );

        -- One entry for each change, without gaps.
        CREATE TABLE log (
            revision bigint PRIMARY KEY,
            at timestamptz NOT NULL,
            actor text NOT NULL,
            request_id text NOT NULL,
            document bytea NOT NULL
        );

        -- Deleted repositories whose rows are still being cleared away.
        CREATE TABLE graves (
            repository_id uuid PRIMARY KEY
        );

        -- The trash: what the change of `revision` deleted, and until when it can be put back.
        CREATE TABLE deletions (
            repository_id uuid,
            revision bigint,
            until timestamptz NOT NULL,
            actor text NOT NULL,
            at timestamptz NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (repository_id, revision)
        );
        CREATE INDEX deletions_by_end ON deletions (until, repository_id, revision);
        """#

    private static let sharedBlobs = #"""
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
        """#

    private static let audit = #"""
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
        """#

    private static let writers = #"""
        -- Who changes the catalog, one row for each start of a program, and which of its groups of changes was committed last. A program that
        -- lost its connection while it committed finds out here. Old rows are deleted when a program starts.
        CREATE TABLE writers (
            writer uuid PRIMARY KEY,
            group_number bigint NOT NULL,
            at timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 50);
        """#

    private static let heldBlobs = #"""
        -- A blob that only the disk of one node has until it is in the bucket: `place` is 'held', `node` its number, `object` null.
        ALTER TABLE blob_locations ADD COLUMN node bigint;
        CREATE INDEX blob_locations_of_node ON blob_locations (node, sha256) WHERE node IS NOT NULL;
        """#
}
