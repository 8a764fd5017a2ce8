public import Access
public import Core
import HTTPTypes
import Registry

/// The move of a running server's catalog from its data directory to a database that several nodes share.
public protocol CatalogMover: Sendable {
    /// Begins it, and returns while it goes on.
    /// - Parameter settings: where to, by the names of the settings that a node there has.
    /// - Throws: `invalid` naming a setting; `conflict` when one is under way, or has succeeded.
    func start(to settings: [(name: String, value: Secret)]) throws(RegistryError)
    /// Asks it to end; without effect when none is under way, or when it is done but for a last word.
    func cancel()
    var status: CatalogMoveStatus { get }
}

enum CatalogMoveEndpoints {
    private static let path = "/api/v1/admin/catalog-move"

    static let table: [Endpoint] = [
        .json(.get, path, "get_catalog_move", "admin", .admin) { (call, _: Nothing) throws(RegistryError) -> CatalogMoveStatus in
            call.api.options.catalogMover?.status ?? CatalogMoveStatus()
        },
        .json(.post, path, "start_catalog_move", "admin", .admin, status: 202) {
            (call, request: CatalogMoveRequest) throws(RegistryError) -> CatalogMoveStatus in
            // It takes all there is to a place that the request names.
            try call.access.requireFreshLogin(call.caller)
            let mover = try mover(of: call)
            try mover.start(to: request.named)
            return mover.status
        },
        .json(.delete, path, "cancel_catalog_move", "admin", .admin, status: 202) { (call, _: Nothing) throws(RegistryError) -> CatalogMoveStatus in
            let mover = try mover(of: call)
            mover.cancel()
            return mover.status
        },
    ]

    private static func mover(of call: Call) throws(RegistryError) -> any CatalogMover {
        guard let mover = call.api.options.catalogMover else {
            throw RegistryError(
                .conflict, subject: .store, reason: "the catalog is in a database already: granary migrate-catalog from-postgres moves it back")
        }
        return mover
    }
}

/// The settings of a node that shares a database, as docs/nodes.md has them.
public struct CatalogMoveRequest: Codable, Sendable {
    let database_url: String
    var s3_bucket, s3_region, s3_endpoint, s3_prefix, s3_access_key_id, s3_secret_access_key, s3_session_token, s3_path_style: String?
    var s3_allow_private: Bool?

    /// What it may name.
    public static let settings = [
        "database_url", "s3_bucket", "s3_region", "s3_endpoint", "s3_prefix", "s3_access_key_id", "s3_secret_access_key", "s3_session_token",
        "s3_path_style", "s3_allow_private",
    ]

    var named: [(name: String, value: Secret)] {
        let values: [String?] = [
            database_url, s3_bucket, s3_region, s3_endpoint, s3_prefix, s3_access_key_id, s3_secret_access_key, s3_session_token, s3_path_style,
            s3_allow_private.map { String($0) },
        ]
        return zip(CatalogMoveRequest.settings, values).compactMap { name, value in value.map { (name, Secret($0)) } }
    }
}

/// How far a move is, or what came of the last one since the server was started. It tells of no secret.
public struct CatalogMoveStatus: Codable, Sendable {
    public enum State: String, Codable, Sendable, CaseIterable {
        /// None since the start.
        case none
        /// Bytes are copied, and everything goes on.
        case bytes
        /// Rows are copied, and changes are refused; then one home is closed and the other opened.
        case rows, switching
        /// This server reads on; changes are refused until it is started anew.
        case moved
        /// Nothing was moved, and everything goes on; `reason` says if it is otherwise.
        case failed, cancelled
    }

    public struct Kind: Codable, Sendable {
        public let name: String
        public let rows: Int
        public let digest: String
        public init(name: String, rows: Int, digest: String) {
            self.name = name
            self.rows = rows
            self.digest = digest
        }
    }

    private var stateName = State.none.rawValue
    public private(set) var isRunning = false
    private var started, ended: String?
    private var copiedBlobs: Int64 = 0
    private var copiedBytes: Int64 = 0
    public var rows = 0
    private var place, code, reason: String?
    public var kinds: [Kind] = []

    private enum CodingKeys: String, CodingKey {
        case stateName = "state"
        case isRunning = "is_running"
        case started = "started_at"
        case ended = "ended_at"
        case copiedBlobs = "copied_blobs"
        case copiedBytes = "copied_bytes"
        case rows, place, code, reason, kinds
    }

    public var state: State {
        get { State(rawValue: stateName) ?? .none }
        set { stateName = newValue.rawValue }
    }

    public init() {}

    public init(began: Timestamp) {
        (state, isRunning, started) = (.bytes, true, began.description)
    }

    public mutating func copied(_ bytes: Int64) {
        copiedBlobs += 1
        copiedBytes += bytes
    }

    public mutating func end(_ state: State, place: String? = nil, because error: RegistryError? = nil, at time: Timestamp) {
        (self.state, isRunning, ended) = (state, false, time.description)
        (self.place, code, reason) = (place, error?.code.word, error?.reason)
        if !kinds.isEmpty { rows = kinds.reduce(0) { $0 + $1.rows } }
    }
}
