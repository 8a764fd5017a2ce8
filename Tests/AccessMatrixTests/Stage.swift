import Access
import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport

/// Somebody who asks.
struct Principal: Sendable, CustomStringConvertible {
    let name: String
    /// Whose line of the table tells what they may do.
    let rule: String
    let credential: Credential
    /// Wrong passwords are counted by where they come from: everybody comes from a place of their own.
    var address = "127.0.0.1"
    /// Another credential for each repository, by its key.
    var byRepository: [String: Credential] = [:]
    /// They ask with a ticket that the credential gets them for that very path.
    var hasTicket = false
    var description: String { name }

    /// The credential alone is what they ask with.
    var isConstant: Bool { byRepository.isEmpty && !hasTicket }
}

/// A house with a private and a public repository of every format and kind, something published in each, and everybody who may ask.
///
/// Grants are the same on every repository, so that one line of the table holds for all of them. Private ones belong to a project, public ones to
/// none. A virtual repository has one member, which is private, in the same project, and takes what is published to it; a remote has an upstream that
/// has nothing.
final class Stage: Sendable {
    static let formats = ["debian", "generic", "http-cache", "maven", "npm", "oci", "pypi"]
    static let kinds = ["local", "remote", "virtual"]

    let house: House
    let upstream: ScriptedServer
    let principals: [Principal]
    /// Of what stands in braces in a row; of repositories by `KEY rid`, `KEY package`, `KEY signer`.
    let names: [String: String]
    /// Accounts and groups with grants, and what they were granted.
    private let grantees: [Grantee]
    /// What private repositories belong to.
    private let project: String

    struct Grantee: Sendable {
        let type: String
        let id: String
        let actions: [String]
        var patterns: [String] = []
    }

    static func key(_ format: String, _ kind: String, _ visibility: Visibility) -> String { "\(format)-\(kind)-\(visibility)" }

    static let keys = formats.flatMap { format in
        kinds.flatMap { kind in Visibility.allCases.map { key(format, kind, $0) } }
    }

    private static let rights = [("reader", ["read"]), ("writer", ["write"]), ("deleter", ["delete"]), ("keeper", ["admin"]), ("tardy", ["admin"])]
    /// They cover what the rows ask for by name.
    private static let named = [
        "app", "new", "put", "f", "up", "k", "cas", "folder", "org/x", ".index", "archetype-catalog.xml", "tool", "none", "@none/*", "demo",
        "pool/main/**", "upload",
    ]
    /// They cover nothing of it, by a little.
    private static let otherwise = ["ap", "app?", "APP", "too", "dem", "org/*/b", "org/y/**", "@*/tools", "*/new", "pool/none/*", "k/2/*", "cas/*/*"]
    /// What of a row's braces an id that names nothing stands for.
    static let nothing = "01949000-0000-7000-8000-00000000dead"

    init() async throws {
        house = try await House()
        upstream = try await ScriptedServer.start { _ in .status(404) }
        var names = ["uuid": Stage.nothing, "blob": Publication.digest.description]
        grantees = try await Stage.grantees(in: house)
        project = try await Stage.project("ours", of: ("group", try await Stage.group("crew", of: "sailor", in: house)), ["write"], in: house)
        try await Stage.project("ours", of: ("user", await house.user("captain")), ["admin"], in: house)
        try await Stage.project("theirs", of: ("user", await house.user("pirate")), ["admin"], in: house)
        names["user"] = await house.user("bystander")
        for format in Stage.formats {
            for visibility in Visibility.allCases {
                let home = visibility == .secret ? project : nil
                let inner = "\(format)-inner-\(visibility)"
                try await Stage.repository(inner, format, project: home, in: house, grantees)
                for kind in Stage.kinds {
                    let key = Stage.key(format, kind, visibility)
                    let more: [(String, JSON)] =
                        switch kind {
                        case "remote": [("repo_type", "remote"), ("upstream_url", .string(upstream.url())), ("upstream_allow_private", true)]
                        case "virtual":
                            [
                                ("repo_type", "virtual"), ("member_repos", [["repo_key": .string(inner)]]), ("deploy_member_key", .string(inner)),
                            ]
                        default: []
                        }
                    names["\(key) rid"] = try await Stage.repository(
                        key, format, isPublic: visibility == .open, project: home, more, in: house, grantees)
                    if kind == "local" {
                        let packages = await house.send(.get, "/api/v1/packages?repository_key=\(key)").json["items"]?.array
                        names["\(key) package"] = packages?.first?["id"]?.string
                    }
                    // The first reader of the key makes it.
                    if format == "debian" { await house.send(.get, "/debian/\(key)/gpg-key.asc") }
                    let signers = await house.send(.get, "/api/v1/signing/keys?repository_id=\(names["\(key) rid"] ?? "")").json["keys"]?.array
                    names["\(key) signer"] = signers?.first?["id"]?.string
                }
            }
        }
        await house.repository("elsewhere", format: "oci")
        let cast = Cast(house)
        principals = try await cast.principals(ids: Stage.keys.compactMap { names["\($0) rid"].flatMap { EntityID($0) } })
        // What ends by the clock comes last.
        await house.grant(["write"], on: "generic-inner-open", to: names["user"] ?? "")
        let begun = await house.send(
            .post, "/api/v1/uploads", as: .user("bystander"),
            json: [
                "repository_key": "generic-inner-open", "artifact_path": "u/1/f", "total_size": 5, "checksum_sha256": .string(Publication.digest.hex),
            ])
        names["session"] = begun.json["session_id"]?.string
        let group = await house.send(.post, "/api/v1/groups", json: ["name": "circle"]).json["id"]?.string
        names["group"] = group
        await house.send(.post, "/api/v1/groups/\(group ?? "")/members", json: ["user_ids": [names["user"].map { .string($0) } ?? .null]])
        let tardy = grantees.dropFirst(Stage.rights.count - 1).first?.id ?? ""
        await house.send(.post, "/api/v1/users/\(tardy)/force-password-change")
        self.names = names
    }

    private static func grantees(in house: House) async throws -> [Grantee] {
        var grantees: [Grantee] = []
        for (name, actions) in Stage.rights { grantees.append(Grantee(type: "user", id: await house.user(name), actions: actions)) }
        // What a group is given, its members have; nobody has what another group is given.
        grantees.append(Grantee(type: "group", id: try await group("publishers", of: "member", in: house), actions: ["write"]))
        _ = try await group("strangers", of: "outsider", in: house)
        let all = ["read", "write", "delete"]
        grantees.append(Grantee(type: "user", id: await house.user("namer"), actions: all, patterns: named))
        grantees.append(Grantee(type: "group", id: try await group("strays", of: "stray", in: house), actions: all, patterns: otherwise))
        return grantees
    }

    /// A new group with one member, an account of its own.
    private static func group(_ name: String, of member: String, in house: House) async throws -> String {
        let group = await house.send(.post, "/api/v1/groups", json: ["name": .string(name)])
        guard let id = group.json["id"]?.string else { throw RegistryError(.internal, subject: .account(name), reason: group.text) }
        await house.send(.post, "/api/v1/groups/\(id)/members", json: ["user_ids": [.string(await house.user(member))]])
        return id
    }

    /// One more member of a project, which is made for the first.
    @discardableResult
    private static func project(
        _ key: String, of principal: (type: String, id: String), _ actions: [String], in house: House
    ) async throws -> String {
        let known = await house.send(.get, "/api/v1/projects").json["items"]?.array?.first { $0["key"]?.string == key }
        let made = await house.send(.post, "/api/v1/projects", json: ["key": .string(key), "name": .string(key)])
        guard let id = (known ?? made.json)["id"]?.string else { throw RegistryError(.internal, subject: .account(key), reason: made.text) }
        let member: JSON = [
            "principal_type": .string(principal.type), "principal_id": .string(principal.id), "actions": .array(actions.map { .string($0) }),
        ]
        let added = await house.send(.post, "/api/v1/projects/\(id)/members", json: member)
        guard added.status == 200 else { throw RegistryError(.internal, subject: .account(key), reason: added.text) }
        return id
    }

    @discardableResult
    private static func repository(
        _ key: String, _ format: String, isPublic: Bool = false, project: String?, _ more: [(String, JSON)] = [], in house: House,
        _ grantees: [Grantee]
    ) async throws -> String {
        let home: [(String, JSON)] = project.map { [("project_id", .string($0))] } ?? []
        let made = await house.repository(key, format: format, isPublic: isPublic, more + home)
        guard let id = made.json["id"]?.string else {
            throw RegistryError(.internal, subject: .repository(key), reason: made.text)
        }
        for grantee in grantees {
            await house.send(
                .post, "/api/v1/permissions",
                json: [
                    "principal_type": .string(grantee.type), "principal_id": .string(grantee.id), "target_type": "repository",
                    "target_id": .string(id), "actions": .array(grantee.actions.map { .string($0) }),
                    "patterns": .array(grantee.patterns.map { .string($0) }),
                ])
        }
        guard more.isEmpty else { return id }
        for call in Publication.of(format, in: key) {
            let answer = await house.send(call.method, call.target, [("Content-Type", call.type)], body: call.body)
            guard (200..<300).contains(answer.status) else {
                throw RegistryError(.internal, subject: .repository(key), reason: "\(call.target): \(answer.text)")
            }
        }
        return id
    }

    /// One more repository like the others, to be lost.
    func throwaway(_ key: String, _ visibility: Visibility) async throws {
        try await Stage.repository(key, "generic", project: visibility == .secret ? project : nil, in: house, grantees)
    }

    func close() async { await upstream.stop() }
}
