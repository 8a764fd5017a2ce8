import Core
import HTTPTypes
import Parsing

/// The OpenAPI 3.1 document, made from the table of endpoints.
struct OpenAPI {
    static func document(of endpoints: [Endpoint], version: String) -> JSON {
        var paths: [(String, [(String, JSON)])] = []
        var schemas: [String: Schema] = [:]
        for endpoint in endpoints {
            endpoint.request?.collect(into: &schemas)
            endpoint.reply?.collect(into: &schemas)
            let path = endpoint.path.replacing("+}", with: "}").replacing("[/]", with: "")
            let operation = (endpoint.method.rawValue.lowercased(), operation(endpoint))
            if let index = paths.firstIndex(where: { $0.0 == path }) { paths[index].1.append(operation) } else { paths.append((path, [operation])) }
        }
        let shapes = schemas.sorted { $0.key < $1.key }.map { ($0.key, json(of: $0.value, isTop: true)) }
        return object([
            ("openapi", "3.1.0"), ("info", object([("title", "Granary"), ("version", JSON(version))])),
            ("paths", object(paths.map { ($0.0, object($0.1)) })),
            (
                "components",
                object([
                    ("schemas", object(shapes)),
                    (
                        "securitySchemes",
                        object([
                            ("bearer", object([("type", "http"), ("scheme", "bearer")])), ("basic", object([("type", "http"), ("scheme", "basic")])),
                            ("api_key", object([("type", "apiKey"), ("in", "header"), ("name", "X-API-Key")])),
                        ])
                    ),
                ])
            ),
        ])
    }

    private static func operation(_ endpoint: Endpoint) -> JSON {
        var members: [(String, JSON)] = [("operationId", JSON(endpoint.operation)), ("tags", .array([JSON(endpoint.tag)]))]
        var parameters = endpoint.path.split(separator: "/").filter { $0.hasPrefix("{") }.map { part in
            let name = String(part.dropFirst().dropLast()).replacing("+", with: "")
            return object([("name", JSON(name)), ("in", "path"), ("required", true), ("schema", object([("type", "string")]))])
        }
        parameters += endpoint.query.map {
            object([("name", JSON($0.name)), ("in", "query"), ("required", false), ("schema", object([("type", JSON($0.type))]))])
        }
        if !parameters.isEmpty { members.append(("parameters", .array(parameters))) }
        if let request = endpoint.request {
            members.append(
                ("requestBody", object([("required", true), ("content", object([("application/json", object([("schema", json(of: request))]))]))])))
        }
        var success: [(String, JSON)] = [("description", "Success")]
        if let reply = endpoint.reply { success.append(("content", object([("application/json", object([("schema", json(of: reply))]))]))) }
        members.append(("responses", object([(String(endpoint.status), object(success))])))
        members.append(("x-access", JSON(endpoint.access == .passwordChange ? "authenticated" : endpoint.access.rawValue)))
        if endpoint.access == .public { members.append(("security", .array([]))) }
        return object(members)
    }

    private static func json(of schema: Schema, isTop: Bool = false) -> JSON {
        switch schema {
        case .string: return object([("type", "string")])
        case .integer: return object([("type", "integer")])
        case .number: return object([("type", "number")])
        case .boolean: return object([("type", "boolean")])
        case .any: return object([])
        case .array(let element): return object([("type", "array"), ("items", json(of: element))])
        case .map(let value): return object([("type", "object"), ("additionalProperties", json(of: value))])
        case .object(let name, let members):
            guard isTop else { return object([("$ref", JSON("#/components/schemas/\(name)"))]) }
            var result: [(String, JSON)] = [("type", "object"), ("properties", object(members.map { ($0.name, json(of: $0.schema)) }))]
            let required = members.filter(\.isRequired).map { JSON($0.name) }
            if !required.isEmpty { result.append(("required", .array(required))) }
            return object(result)
        }
    }

    private static func object(_ members: [(String, JSON)]) -> JSON { .object(.init(members)) }
}
