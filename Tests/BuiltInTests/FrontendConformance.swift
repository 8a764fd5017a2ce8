import BuiltIn
import Core
import FrontendKit
import HTTPTypes
import TestSupport
import Testing

/// What every format keeps to, whichever it is: the rows of its protocol, the words of its refusals, what it makes of strangers' documents and
/// names. A new format stands in `BuiltIn.frontends` and is under test here at once.
@Suite("conformance of every frontend") struct FrontendConformance {
    static let frontends = BuiltIn.frontends

    // MARK: The table

    @Test("names, aliases and mounts belong to one format each")
    func identities() {
        let names = Self.frontends.flatMap { [$0.format.name] + $0.format.aliases }.map(Format.canonical)
        #expect(names.count == Set(names).count, "\(names.sorted())")
        let mounts = Self.frontends.flatMap(\.format.mounts)
        #expect(mounts.count == Set(mounts).count)
        #expect(mounts.allSatisfy { $0.hasPrefix("/") && !$0.dropFirst().contains("/") && $0 != "/api" })
    }

    @Test("what is read asks for the right to read, what changes something for more; files and documents are there for HEAD")
    func rights() {
        for frontend in Self.frontends {
            for route in frontend.routes {
                switch route.kind {
                case .file, .view: #expect(route.needs == .read && Set(route.methods) == [.get, .head], "\(frontend.format.name) \(route.pattern)")
                case .action: #expect(route.needs != .read || route.options.contains(.live), "\(frontend.format.name) \(route.pattern)")
                case .answer: #expect(!route.methods.contains(.put) && !route.methods.contains(.delete), "\(frontend.format.name) \(route.pattern)")
                case .mounted: #expect(route.level == .mount)
                }
            }
        }
    }

    // MARK: Refusals

    private static func refusal(
        _ frontend: any Frontend, _ failure: RegistryError, _ method: HTTPRequest.Method
    ) throws -> (body: String, status: HTTPResponse.Status, fields: HTTPFields)? {
        let mount = frontend.format.mounts.first ?? ""
        let head = try RequestHead(method: method, target: "\(mount)/repo/a/b", fields: [:], requestID: "test", peer: "127.0.0.1", isSecure: false)
        let context = ErrorContext(baseURL: "https://granary.test", repository: "repo", needs: method == .get ? .read : .write, match: nil)
        guard case .bytes(let body, let status, let fields) = frontend.reply(to: failure, for: head, in: context) else { return nil }
        return (String(decoding: body, as: UTF8.self), status, fields)
    }

    @Test("every code is a failure to the client, ours from 500 and theirs from 400", arguments: RegistryError.Code.allCases)
    func codes(code: RegistryError.Code) throws {
        for frontend in Self.frontends {
            for method in [HTTPRequest.Method.get, .put, .post, .delete] {
                let failure = RegistryError(code, subject: .request, reason: "why so")
                let answer = try #require(try Self.refusal(frontend, failure, method), "\(frontend.format.name) answers with stored bytes")
                // A cache that fails is a miss: its clients build by themselves.
                let isMiss = frontend.format.isCache && answer.status == .notFound
                #expect(isMiss || answer.status.code / 100 == code.status / 100, "\(frontend.format.name) \(code): \(answer.status)")
            }
        }
    }

    @Test("what went wrong inside is for the log alone, and no reason breaks out of its field")
    func discretion() throws {
        for frontend in Self.frontends {
            for code in RegistryError.Code.allCases {
                let failure = RegistryError(
                    code, subject: .path("a/b"), reason: "bad\r\nSet-Cookie: x=1\r\n\r\n<b>\u{E9}", cause: "/srv/granary/store: secret detail")
                guard let answer = try Self.refusal(frontend, failure, .get) else { continue }
                #expect(!answer.body.contains("secret detail") && !answer.body.contains("/srv/"), "\(frontend.format.name) \(code)")
                let phrase = answer.status.reasonPhrase
                let values = answer.fields.map(\.value) + [phrase]
                #expect(
                    values.allSatisfy { !$0.contains("secret detail") && !$0.utf8.contains(13) && !$0.utf8.contains(10) }, "\(frontend.format.name)")
            }
        }
    }

    @Test("who must say who they are is told how")
    func challenges() throws {
        for frontend in Self.frontends {
            let answer = try Self.refusal(frontend, RegistryError(.unauthenticated, subject: .request, reason: "log in"), .get)
            #expect(answer?.status == .unauthorized && answer?.fields[.wwwAuthenticate]?.isEmpty == false, "\(frontend.format.name)")
        }
    }

    // MARK: Strangers' documents and names

    /// Views a remote of the format would learn from, found by asking for files of many shapes.
    private static func views(of frontend: any Frontend) -> [View] {
        let names = ["demo", "@scope/demo", "org.example:demo", "dists/stable"].compactMap { PackageName($0) }
        let scopes: [Scope] = [.everything] + names.map { .package($0) }
        return scopes.compactMap { frontend.source(of: $0) }
    }

    @Test("a document that is none is refused as invalid or teaches nothing, and never traps", arguments: [UInt64(1), 2, 3])
    func nonsense(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var documents: [[UInt8]] = [
            [], [0], Array("{".utf8), Array("null".utf8), Array("[]".utf8), Array("<".utf8), Array("<html>".utf8), Array("{}".utf8),
            Array(String(repeating: "[", count: 100_000).utf8), Array(String(repeating: "<a>", count: 50_000).utf8),
        ]
        for _ in 0..<200 { documents.append((0..<Int.random(in: 1...400, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }) }
        // Otherwise this would be a test of nothing.
        #expect(Self.frontends.filter { !Self.views(of: $0).isEmpty }.count >= 4)
        for frontend in Self.frontends {
            for view in Self.views(of: frontend) {
                for bytes in documents {
                    var facts = Facts()
                    do throws(RegistryError) {
                        try frontend.learn(view, from: Document(bytes: bytes, contentType: nil, url: "https://upstream.test/x"), into: &facts)
                        #expect(facts.listed.isEmpty, "\(frontend.format.name), seed \(seed)")
                    } catch {
                        #expect(
                            [.invalid, .unsupported, .tooLarge, .notFound].contains(error.code), "\(frontend.format.name) \(error), seed \(seed)")
                    }
                }
            }
        }
    }

    @Test("no file's name leads an upstream's URL out of its folder, or puts a line break into a request")
    func names() {
        let paths = [
            "a", "a/b/c.tar.gz", "a%2f..%2fb", "a b/c?d#e", "http:/x", "@s/p/-/p-1.0.0.tgz", "org/x/a/1/a-1.jar", "pool/main/a/a_1_all.deb", "é/ü",
        ]
        var asked = 0
        for frontend in Self.frontends {
            for path in paths.compactMap({ AssetPath($0) }) {
                guard let url = frontend.upstream(for: .file(path), given: Facts())?.url else { continue }
                asked += 1
                let segments = url.split(separator: "/", omittingEmptySubsequences: false)
                #expect(!segments.contains("..") && !url.hasPrefix("/") && !url.contains("://"), "\(frontend.format.name): \(url)")
                #expect(url.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } && !url.contains("#"), "\(frontend.format.name): \(url)")
            }
        }
        #expect(asked >= 2 * paths.count)
    }
}
