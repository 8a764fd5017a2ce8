import Core
import HTTPTypes
import Parsing
import TestHouse
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// The document we serve against the facts of the API it is compatible with (rest-facts.json: method, path, operation, access, status, fields).
@Suite("OpenAPI") struct OpenAPITests {
    /// Operations whose floor is another than the facts' on purpose; docs/rest.md says why.
    static let otherAccess: [String: String] = [
        "metrics_listener": "admin", "create_repository": "authenticated",
    ]
    /// Fields the facts require and we have not; docs/rest.md says why.
    static let missingFields: [String: Set<String>] = [
        "list_format_handlers": ["[].created_at", "[].extensions", "[].id", "[].priority", "[].updated_at"],
        "get_format_handler": ["created_at", "extensions", "id", "priority", "updated_at"],
    ]

    /// Operations that are ours alone.
    static let ours: Set<String> = [
        "get_sweep", "explain_blob", "get_scrub", "run_scrub", "run_tier_scrub", "make_backup", "get_catalog_move", "start_catalog_move",
        "cancel_catalog_move", "get_audit_head", "export_audit_log", "list_held", "list_held_blobs",
        "list_trash", "empty_trash", "get_deletion", "restore_deletion", "purge_deletion",
    ]

    static func facts() throws -> [JSON] {
        let folder = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        guard let file = unsafe fopen("/\(folder)/rest-facts.json", "rb") else {
            throw RegistryError(.notFound, subject: .request, reason: "rest-facts.json is beside this test")
        }
        defer { unsafe fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&bytes, 1, bytes.count, file)
        return try JSON.parse(Array(bytes[..<count])).array ?? []
    }

    @Test("every operation has the path, method, name, access, status and fields that clients were written against, or is listed as different")
    func facts() async throws {
        let document = try JSON.parse(try await House().openAPI)
        var differences: [String] = []
        var known: Set<String> = []
        for fact in try Self.facts() {
            let name = fact["operationId"]?.string ?? "?"
            known.insert(name)
            guard let operation = document["paths"]?[fact["path"]?.string ?? ""]?[fact["method"]?.string ?? ""] else {
                differences.append("\(name): not served at its path")
                continue
            }
            if operation["operationId"]?.string != name { differences.append("\(name): named \(operation["operationId"]?.string ?? "")") }
            let access = Self.otherAccess[name] ?? fact["access"]?.string
            if operation["x-access"]?.string != access { differences.append("\(name): access \(operation["x-access"]?.string ?? "")") }
            guard let success = operation["responses"]?[String(fact["status"]?.int ?? 0)] else {
                differences.append("\(name): another status")
                continue
            }
            let ours = Self.required(success["content"]?["application/json"]?["schema"], in: document)
            let wanted = Set(fact["fields"]?.array?.compactMap(\.string) ?? []).subtracting(Self.missingFields[name] ?? [])
            differences += wanted.subtracting(ours).sorted().map { "\(name): lacks \($0)" }
            differences += ours.intersection(Self.missingFields[name] ?? []).sorted().map { "\(name): has \($0), listed as missing" }
        }
        #expect(differences == [])
        let served =
            document["paths"]?.object?.members.flatMap { $0.value.object?.members.compactMap { $0.value["operationId"]?.string } ?? [] } ?? []
        #expect(served.count > 60)
        #expect(Set(served).subtracting(known) == Self.ours)
        #expect(served.count == Set(served).count)
    }

    /// Fields an answer of this schema always has, members of objects and lists with their path.
    static func required(_ schema: JSON?, in document: JSON, under prefix: String = "", depth: Int = 0) -> Set<String> {
        guard depth < 6, let schema = resolved(schema, in: document) else { return [] }
        if schema["type"] == "array" { return required(schema["items"], in: document, under: prefix + "[].", depth: depth + 1) }
        if let values = schema["additionalProperties"] {
            // A table has whatever names it has: the probes' are fixed by the handler.
            return Set(
                ["database", "storage", "migrations", "setup_complete"].flatMap { name in
                    [prefix + name] + required(values, in: document, under: "\(prefix)\(name).", depth: depth + 1)
                })
        }
        var fields: Set<String> = []
        for name in schema["required"]?.array?.compactMap(\.string) ?? [] {
            fields.insert(prefix + name)
            let member = resolved(schema["properties"]?[name], in: document)
            let isList = member?["type"] == "array"
            fields.formUnion(
                required(isList ? member?["items"] : member, in: document, under: prefix + name + (isList ? "[]." : "."), depth: depth + 1))
        }
        return fields
    }

    private static func resolved(_ schema: JSON?, in document: JSON) -> JSON? {
        guard let name = schema?["$ref"]?.string?.split(separator: "/").last else { return schema }
        return document["components"]?["schemas"]?[String(name)]
    }

    @Test("the document is served to everybody, and its references resolve")
    func served() async throws {
        let house = try await House()
        let answer = await house.send(.get, "/api/v1/openapi.json", as: .none)
        #expect(answer.status == 200)
        #expect(answer.json["openapi"] == "3.1.0")
        let schemas = Set(answer.json["components"]?["schemas"]?.object?.names ?? [])
        let references = answer.text.split(separator: "#/components/schemas/").dropFirst().map { String($0.prefix { $0 != "\"" }) }
        #expect(!references.isEmpty)
        #expect(Set(references).subtracting(schemas) == [])
    }
}
