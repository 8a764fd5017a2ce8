public import Core
public import FrontendKit
public import HTTPTypes
import NIOCore

/// A frontend over repositories in memory, asked by whole requests: the road a request takes through the engine, for local repositories.
public struct FrontendHarness: Sendable {
    public let frontend: any Frontend
    public let registry: MemoryRegistry

    public init(_ frontend: any Frontend, repositories: [String]) {
        self.frontend = frontend
        registry = MemoryRegistry(repositories)
    }

    /// What came back.
    public struct Answer: Sendable {
        public let status: Int
        public let fields: HTTPFields
        public let body: [UInt8]

        public init(status: Int, fields: HTTPFields, body: [UInt8]) {
            self.status = status
            self.fields = fields
            self.body = body
        }

        public var text: String { String(decoding: body, as: UTF8.self) }

        /// Status, fields in order of their names, and the body: for comparing whole answers.
        public var transcript: String {
            let lines = fields.map { "\($0.name.canonicalName): \($0.value)" }.sorted()
            return (["\(status)"] + lines + (body.isEmpty ? [] : ["", text])).joined(separator: "\n")
        }
    }

    public func send(
        _ method: HTTPRequest.Method, _ target: String, _ fields: HTTPFields = [:], body: [UInt8] = [], as who: MemoryCaller = .publisher
    ) async -> Answer {
        await send(method, target, fields, streaming: Body(ByteBuffer(bytes: body)), as: who)
    }

    public func send(
        _ method: HTTPRequest.Method, _ target: String, _ fields: HTTPFields = [:], streaming body: Body, as who: MemoryCaller = .publisher
    ) async -> Answer {
        var head = RequestHead(
            method: method, target: target, path: RequestPath(segments: []), query: Query(), fields: fields, requestID: "test", peer: "127.0.0.1",
            isSecure: true)
        var context = ErrorContext(baseURL: MemoryRegistry.baseURL, repository: nil, needs: nil, match: nil)
        do throws(RegistryError) {
            head = try RequestHead(method: method, target: target, fields: fields, requestID: "test", peer: "127.0.0.1", isSecure: true)
            return try await answer(head, body, who, &context)
        } catch {
            guard case .bytes(let bytes, let status, let fields) = frontend.reply(to: error, for: head, in: context) else {
                preconditionFailure("an error is answered with bytes")
            }
            return Answer(status: status.code, fields: fields, body: bytes)
        }
    }

    private func answer(
        _ head: RequestHead, _ body: Body, _ who: MemoryCaller, _ context: inout ErrorContext
    ) async throws(RegistryError) -> Answer {
        let mounts = frontend.format.mounts.map { $0.split(separator: "/").map(String.init) }
        guard let mount = mounts.first(where: { head.path.segments.starts(with: $0) }) else {
            throw RegistryError(.notFound, subject: .request, reason: "no mount")
        }
        let path = head.path.dropping(mount.count)
        if let (route, match) = find(path, head.method, .mount, nil), case .mounted(let compute) = route.kind {
            context.match = match
            let port = MemoryMount(registry, as: who)
            return try await finish(try await compute(Request(head: head, match: match, body: body), port), nil)
        }
        context.repository = path.segments.first
        let key = path.segments.first.flatMap { RepositoryKey($0) }
        let found = find(path.dropping(1), head.method, .repository, key)
        context.needs = found?.route.needs
        context.match = found?.match
        guard let key, let repository = registry.repository(key), who.may(.read, key) else {
            throw RegistryError(
                who.isAnonymous ? .unauthenticated : .notFound, subject: .repository(path.segments.first ?? ""), reason: "there is no such repository"
            )
        }
        guard let (route, match) = found else { throw RegistryError(.notFound, subject: .request, reason: "nothing is here") }
        let port = MemoryPort(registry, repository, as: who)
        try await port.require(route.needs)
        let request = Request(head: head, match: match, body: body)
        switch route.kind {
        case .file(let file): return try await self.file(file, match, port)
        case .view(let identify): return try await finish(.view(try identify(request), [:]), port)
        case .answer(let compute): return try await finish(try await compute(request, port), port)
        case .action(let perform): return try await finish(try await perform(request, port), port)
        case .mounted: preconditionFailure("rows of the mount were looked up before")
        }
    }

    private func find(
        _ path: RequestPath, _ method: HTTPRequest.Method, _ level: Route.Level, _ key: RepositoryKey?
    ) -> (route: Route, match: Match)? {
        for route in frontend.routes where route.level == level && route.methods.contains(method) {
            if let match = route.pattern.match(path, in: key) { return (route, match) }
        }
        return nil
    }

    private func file(_ file: FileRoute, _ match: Match, _ port: MemoryPort) async throws(RegistryError) -> Answer {
        let absent = RegistryError(.notFound, subject: .request, reason: "there is no such file")
        let path: AssetPath?
        switch try file.locate(match) {
        case .path(let exact): path = exact
        case .tagged(let package, let tag, _, let locate): path = port.repository.tag(tag, of: package).flatMap { locate($0.version) }
        }
        guard let path, let asset = port.repository.asset(at: path) else { throw absent }
        if let describe = file.describe { return try await finish(try describe(asset), port) }
        return try await finish(.asset(asset, file.fields(asset)), port)
    }

    private func finish(_ reply: Reply, _ port: MemoryPort?) async throws(RegistryError) -> Answer {
        switch reply {
        case .bytes(let bytes, let status, let fields): return Answer(status: status.code, fields: fields, body: bytes)
        case .asset(let asset, var fields):
            if fields[.contentType] == nil { fields[.contentType] = asset.contentType }
            return Answer(status: 200, fields: fields, body: try await port?.bytes(of: asset) ?? [])
        case .view(let view, var fields):
            guard let port else { throw RegistryError(.internal, subject: .request, reason: "a mount has no views") }
            if let part = view.part {
                let editions = try await MemoryEditions(frontend, port)
                return try await editions.answer(part)
            }
            var page = Page()
            try frontend.render(view, from: try await port.facts(in: view.scope, after: nil, limit: .max), in: port.context, into: &page)
            for field in page.fields { fields.append(field) }
            fields[.contentType] = page.contentType
            if let vary = view.vary { fields[.vary] = vary }
            return Answer(status: 200, fields: fields, body: page.bytes)
        }
    }
}
