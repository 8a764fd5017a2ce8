import Core
import FrontendKit
import HTTPTypes

/// Finding a frontend's row for a path.
enum RouteTable {
    enum Outcome {
        case found(Route, Match)
        /// Some row has the path, none the method: what is allowed.
        case otherMethods([HTTPRequest.Method])
        case absent
    }

    /// The first row in the table's order wins; the table has no two rows of equal precision for one path.
    static func find(
        _ path: RequestPath, _ method: HTTPRequest.Method, at level: Route.Level, in routes: [Route], of repository: RepositoryKey? = nil
    ) -> Outcome {
        var allowed: [HTTPRequest.Method] = []
        for route in routes where route.level == level {
            guard let match = route.pattern.match(path, in: repository) else { continue }
            if route.methods.contains(method) { return .found(route, match) }
            allowed += route.methods.filter { !allowed.contains($0) }
        }
        return allowed.isEmpty ? .absent : .otherMethods(allowed)
    }

    /// An ambiguous table is a programmer's error, found at start-up.
    static func check(_ frontend: any Frontend) {
        let routes = frontend.routes
        for (index, a) in routes.enumerated() {
            for b in routes[(index + 1)...] where a.level == b.level && !Set(a.methods).isDisjoint(with: b.methods) {
                precondition(!a.pattern.overlaps(b.pattern), "\(frontend.format.name): \(a.pattern) and \(b.pattern) overlap")
            }
        }
    }
}
