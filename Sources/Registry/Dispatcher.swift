import NIOCore
import Parsing
public import Core
public import FrontendKit
import HTTPTypes
import Access
import Catalog
import Logging

/// The one entry of every request: mount, then identity, repository, permission, reply. No central switch over formats.
public struct Dispatcher: Responder {
    /// A responder that owns a URL prefix beside the formats: the REST API, health, metrics.
    public struct Mounted: Sendable {
        let prefix: [String]
        let responder: any Responder
        public init(_ prefix: String, _ responder: any Responder) {
            self.prefix = prefix.split(separator: "/").map(String.init)
            self.responder = responder
        }
    }

    private let registry: Registry
    private let mounted: [Mounted]
    private let formats: [Mount]

    public init(registry: Registry, mounted: [Mounted]) {
        self.registry = registry
        let own = registry.options.nodes.map { _ in [Mounted(NodeQuestions.prefix, NodeQuestions(registry: registry))] } ?? []
        // Longest prefix first, so that /api/v1 wins over an alias under /api.
        self.mounted = (mounted + own).sorted { $0.prefix.count > $1.prefix.count }
        formats = registry.frontends.flatMap { frontend in
            let routes = registry.routes[frontend.format.name] ?? RouteTable(frontend)
            return frontend.format.mounts.map { Mount(prefix: $0.split(separator: "/").map(String.init), frontend: frontend, routes: routes) }
        }.sorted { $0.prefix.count > $1.prefix.count }
    }

    public func respondNow(to head: RequestHead) -> Response? {
        // What other nodes changed has to be learned first.
        guard !registry.catalog.isShared else { return nil }
        // A page of another origin is told whether it may read the answer.
        if !registry.options.browsers.origins.isEmpty, head.fields[.origin] != nil { return nil }
        let segments = head.path.segments
        guard !mounted.contains(where: { segments.starts(with: $0.prefix) }),
            let mount = formats.first(where: { segments.starts(with: $0.prefix) })
        else {
            return nil
        }
        return registry.respondNow(to: head, in: mount)
    }

    public func respond(to head: RequestHead, body: Body) async -> Response {
        let browsers = registry.options.browsers
        guard !browsers.origins.isEmpty else { return await answer(head, body) }
        if let response = browsers.preflight(head) { return response }
        var response = await answer(head, body)
        browsers.open(&response, for: head)
        return response
    }

    private func answer(_ head: RequestHead, _ body: Body) async -> Response {
        let segments = head.path.segments
        if let owner = mounted.first(where: { segments.starts(with: $0.prefix) }) {
            if registry.access.setupRequired, segments.first == "api" {
                // Another node may have been set up just now.
                do throws(RegistryError) { try await registry.catchUp() } catch { return respond(toUnreadable: error) }
            }
            if registry.access.setupRequired, let refusal = SetupLock.refusal(of: head, allowed: registry.options.setupCIDRs) { return refusal }
            return await owner.responder.respond(to: head, body: body)
        }
        guard let mount = formats.first(where: { segments.starts(with: $0.prefix) }) else {
            return respond(toUnreadable: RegistryError(.notFound, subject: .request, reason: "nothing is served at \(head.path)"))
        }
        return await registry.respond(to: head, body: body, in: mount)
    }
}

/// What a path names in a format's tables, looked up before anything can fail.
private struct Target {
    let inMount: RouteTable.Outcome
    /// As the path has it; nil when the path ends before it.
    let name: String?
    let key: RepositoryKey?
    let inRepository: RouteTable.Outcome

    init(of head: RequestHead, in mount: Mount) {
        let path = head.path.dropping(mount.prefix.count)
        inMount = mount.routes.find(path, head.method)
        name = path.segments.first
        key = name.flatMap { RepositoryKey($0) }
        inRepository = mount.routes.find(path.dropping(1), head.method, of: key)
    }

    /// The upload session that the path names: a row's parameter of this name is one.
    var upload: String? {
        guard case .found(_, let match) = inRepository, !match["upload"].isEmpty else { return nil }
        return match["upload"]
    }

    /// A row beside the repositories changes nothing but where it is put or deleted: POST asks for docker's token.
    func changesSomething(_ method: HTTPRequest.Method) -> Bool {
        if case .found = inMount { return method == .put || method == .delete || method == .patch }
        guard case .found(let route, _) = inRepository else { return false }
        return route.needs > .read
    }
}

extension Subject {
    /// What a row of a format's table is about. An action without a name in its path has it in its body, if anywhere; nothing else may guess.
    init(of outcome: RouteTable.Outcome, _ frontend: any Frontend) {
        switch outcome {
        case .found(let route, let match):
            if let name = frontend.tokenName(of: match) {
                self = .name(name)
            } else if case .action = route.kind {
                self = .unknown
            } else {
                self = .whole
            }
        // Nothing is served: who may do anything here is told so.
        case .absent, .otherMethods: self = .unknown
        }
    }
}

extension Registry {
    /// One request to a format: five stages in order, once this node knows of everything acknowledged before.
    func respond(to head: RequestHead, body: Body, in mount: Mount) async -> Response {
        let frontend = mount.frontend
        let target = Target(of: head, in: mount)
        let context = errorContext(of: target)
        do throws(RegistryError) {
            try await catchUp()
            if let response = try await relayed(head, body, upload: target.upload) { return response }
            if let response = respondAfterCatchUp(to: head, in: mount) { return response }

            // Identity. A credential that is present but wrong is an error even where anonymous callers may read.
            let givesTokens = frontend.format.givesTokens
            let caller = try await access.authenticate(Credentials.from(head, authorizationOnly: givesTokens), for: Asked(head))
            if !givesTokens { try access.refuseRegistryToken(caller) }
            if access.setupRequired { throw SetupLock.failure }
            // Where no cookie counts, nobody's can be used.
            if !givesTokens { try refuseForgery(head) }
            if options.isDemonstration, target.changesSomething(head.method) { throw Registry.demonstration }

            if case .found(let route, let match) = target.inMount, case .mounted(let compute) = route.kind {
                let port = MountSession(registry: self, frontend: frontend, caller: caller, head: head)
                return try await response(
                    to: try await compute(Request(head: head, match: match, body: body), port), from: frontend, over: nil, head: head)
            }

            // Repository and permission: one resolved target, which the handler consumes as `Authorized`.
            guard let name = target.name else {
                throw RegistryError(.notFound, subject: .request, reason: "name a repository: \(head.path)/<repository>")
            }
            let repository = try await repository(target.key, servedBy: frontend)
            let authorized = try authorize(
                caller, context.needs ?? .read, on: repository, named: name, target.key, about: Subject(of: target.inRepository, frontend))

            // Reply.
            switch target.inRepository {
            case .absent: throw RegistryError(.notFound, subject: .request, reason: "\(frontend.format.name) has nothing at \(head.path)")
            case .otherMethods(let methods):
                throw RegistryError(
                    .unsupported, subject: .request,
                    reason: "\(head.method.rawValue) is not served here, only \(methods.map(\.rawValue).joined(separator: ", "))")
            case .found(let route, let match):
                let session = RepositorySession(registry: self, authorized: authorized, frontend: frontend, requestID: head.requestID)
                return try await perform(route, Request(head: head, match: match, body: body), in: session)
            }
        } catch {
            return failureResponse(error, from: frontend, head: head, in: context)
        }
    }

    /// `Access.authorize`, where "not found" is about the repository: a format's client is told that, not that its file or blob is missing.
    private func authorize(
        _ caller: Caller, _ permission: Permission, on repository: Repository?, named name: String, _ key: RepositoryKey?, about subject: Subject
    ) throws(RegistryError) -> Authorized {
        do throws(RegistryError) { return try access.authorize(caller, permission, on: repository, named: key, about: subject) } catch {
            guard error.code == .notFound else { throw error }
            throw RegistryError(.notFound, subject: .repository(name), reason: error.reason)
        }
    }

    /// nil when there is none, or when it belongs to another format: both look the same to a caller.
    private func repository(_ key: RepositoryKey?, servedBy frontend: any Frontend) async throws(RegistryError) -> Repository? {
        guard let key else { return nil }
        let repository = try await catalog.repository(key)
        // Asked of what is not there, too: the time that it takes would tell.
        let format = frontend.format
        let isServed = format.answers(to: repository?.format ?? format.name)
        return isServed ? repository : nil
    }

    /// What a failure anywhere on the road may name.
    private func errorContext(of target: Target) -> ErrorContext {
        var context = ErrorContext(baseURL: options.baseURL.text, repository: nil, needs: nil, match: nil)
        if case .found(_, let match) = target.inMount {
            context.match = match
            return context
        }
        context.repository = target.name
        if case .found(let route, let match) = target.inRepository {
            context.needs = route.needs
            context.match = match
        }
        return context
    }

    func failureResponse(_ failure: RegistryError, from frontend: any Frontend, head: RequestHead, in context: ErrorContext) -> Response {
        var response: Response
        switch frontend.reply(to: failure, for: head, in: context) {
        case .bytes(let bytes, let status, let fields):
            response = Response(status, fields: fields, content: .bytes(.init(bytes: bytes)), failure: failure)
        case .asset, .view:
            preconditionFailure("an error is answered with bytes")
        }
        if let seconds = failure.retryAfterSeconds { response.fields[.retryAfter] = String(seconds) }
        return response
    }
}
