import Core
import FrontendKit
import HTTPTypes

/// A frontend's rows, made once: many frontends make theirs anew each time they are asked.
struct RouteTable: Sendable {
    enum Outcome {
        case found(Route, Match)
        /// Some row has the path, none the method: what is allowed.
        case otherMethods([HTTPRequest.Method])
        case absent
    }

    private let inMount: [Route]
    private let inRepository: [Route]

    /// An ambiguous table is a programmer's error, found at start-up.
    init(_ frontend: any Frontend) {
        let routes = frontend.routes
        for (index, a) in routes.enumerated() {
            for b in routes[(index + 1)...] where a.level == b.level && !Set(a.methods).isDisjoint(with: b.methods) {
                precondition(!a.pattern.overlaps(b.pattern), "\(frontend.format.name): \(a.pattern) and \(b.pattern) overlap")
            }
        }
        inMount = routes.filter { $0.level == .mount }
        inRepository = routes.filter { $0.level == .repository }
    }

    /// The row of the mount itself, below its prefix.
    func find(_ path: RequestPath, _ method: HTTPRequest.Method) -> Outcome { RouteTable.find(path, method, in: inMount, of: nil) }

    /// The row of a repository, below its key.
    func find(_ path: RequestPath, _ method: HTTPRequest.Method, of repository: RepositoryKey?) -> Outcome {
        RouteTable.find(path, method, in: inRepository, of: repository)
    }

    /// The first row in the table's order wins; the table has no two rows of equal precision for one path.
    private static func find(
        _ path: RequestPath, _ method: HTTPRequest.Method, in routes: [Route], of repository: RepositoryKey?
    ) -> Outcome {
        var allowed: [HTTPRequest.Method] = []
        for route in routes {
            guard let match = route.pattern.match(path, in: repository) else { continue }
            if route.methods.contains(method) { return .found(route, match) }
            allowed += route.methods.filter { !allowed.contains($0) }
        }
        return allowed.isEmpty ? .absent : .otherMethods(allowed)
    }
}

/// A format at one of its URL prefixes.
struct Mount: Sendable {
    let prefix: [String]
    let frontend: any Frontend
    let routes: RouteTable
}
