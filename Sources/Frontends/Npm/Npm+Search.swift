import Core
import FrontendKit
import HTTPTypes
import Parsing

extension NpmFrontend {
    /// `npm search`: the packages the caller may see whose name, description or keywords have every word asked for.
    func search(_ request: Request, _ port: any RepositoryPort) async throws(RegistryError) -> Reply {
        let query = request.head.query
        let wanted = SearchWords(query["text"] ?? "")
        let size = min(max(query["size"].flatMap { Int($0) } ?? 20, 0), 250)
        let from = max(query["from"].flatMap { Int($0) } ?? 0, 0)
        var found: [(package: Package, weight: Int)] = []
        var last: String?
        repeat {
            let page = try await port.facts(in: .packages, after: last, limit: 1000).packages
            for package in page {
                guard let weight = wanted.weight(of: package), try await isPublished(package.name, port) else { continue }
                found.append((package, weight))
            }
            last = page.count == 1000 ? page.last?.name.text : nil
        } while last != nil
        let total = found.count
        found.sort { ($1.weight, $0.package.name) < ($0.weight, $1.package.name) }
        var rows: [JSON] = []
        for hit in found.dropFirst(from).prefix(size) { if let row = try await row(hit.package, weight: hit.weight, port) { rows.append(row) } }
        let answer: JSON = .object(.init([("objects", .array(rows)), ("total", JSON(total)), ("time", JSON("0"))]))
        return .json(answer.encoded())
    }

    /// A package whose versions are all gone is still a name, and found by nobody.
    private func isPublished(_ package: PackageName, _ port: any RepositoryPort) async throws(RegistryError) -> Bool {
        if try await port.tag(Packument.latestTag, of: package) != nil { return true }
        return try await !port.facts(in: .package(package), after: nil, limit: 1).versions.isEmpty
    }

    private func row(_ package: Package, weight: Int, _ port: any RepositoryPort) async throws(RegistryError) -> JSON? {
        let packument = Packument(package.name, try await port.facts(in: .package(package.name), after: nil, limit: 1))
        guard let version = packument.latest.flatMap({ packument.version(at: $0.text) }) else { return nil }
        let document = try packument.document(of: version, in: port.context)
        let people = (document["maintainers"]?.array ?? []).compactMap { person in
            (person["name"]?.string ?? person.string).map { name in
                JSON.object(present: ["username": JSON(name), "email": person["email"]])
            }
        }
        let score = JSON.Number(Double(min(weight, 100)) / 100).map { JSON.number($0) } ?? 0
        return [
            "package": .object(present: [
                "name": JSON(package.name.text), "scope": JSON(NpmName.scope(of: package.name).map(String.init) ?? "unscoped"),
                "version": JSON(version.name.text), "description": document["description"],
                "keywords": document["keywords"].flatMap { $0.array == nil ? nil : $0 } ?? [], "date": JSON(version.created.description),
                "author": document["author"],
                "links": .object(present: ["homepage": document["homepage"], "repository": document["repository"]?["url"]]),
                "publisher": ["username": JSON(version.creator)], "maintainers": .array(people),
            ]),
            "score": ["final": score, "detail": ["quality": score, "popularity": score, "maintenance": score]], "searchScore": score,
        ]
    }

    // MARK: Who asks

    func whoami(_ port: any MountPort) throws(RegistryError) -> Reply {
        guard !port.caller.isAnonymous else {
            throw RegistryError(.unauthenticated, subject: .request, reason: "You must be logged in: npm login")
        }
        return .json(JSON.object(.init([("username", JSON(port.caller.name))])).encoded())
    }

    /// `npm login`: a name and password for a token. An account is not made here.
    func logIn(_ request: Request, _ port: any MountPort) async throws(RegistryError) -> Reply {
        let prefix = "org.couchdb.user:"
        let id = request.match["user"]
        let sent = try JSON.parse(try await request.body.collect(upTo: 64 << 10))
        guard id.hasPrefix(prefix), let name = sent["name"]?.string, id.dropFirst(prefix.count) == name, let password = sent["password"]?.string
        else {
            throw RegistryError(.invalid, subject: .request, reason: "a login is a JSON document with name and password, at -/user/\(prefix)NAME")
        }
        let token = try await port.logIn(name, password: password, label: "npm login")
        return .json(
            JSON.object(.init([("ok", true), ("id", JSON(id)), ("rev", "1"), ("token", JSON(token))])).encoded(), .created)
    }
}

/// The words of a search.
private struct SearchWords {
    private let words: [String]
    private let keywords: [String]
    private let scopes: [String]

    /// `keywords:` and `scope:` narrow; other qualifiers, and what sorts, say nothing here.
    init(_ text: String) {
        var (words, keywords, scopes): ([String], [String], [String]) = ([], [], [])
        for item in text.prefix(1024).lowercased().split(separator: " ") {
            let halves = item.split(separator: ":", maxSplits: 1).map(String.init)
            switch halves.first {
            case "keywords"? where halves.count == 2: keywords += halves[1].split(separator: ",").map(String.init)
            case "scope"? where halves.count == 2: scopes.append(halves[1].hasPrefix("@") ? String(halves[1].dropFirst()) : halves[1])
            case "author"?, "maintainer"?, "not"?, "is"?, "boost-exact"?: continue
            default: words.append(String(item))
            }
        }
        (self.words, self.keywords, self.scopes) = (words, keywords, scopes)
    }

    /// How well a package fits; nil when it does not.
    func weight(of package: Package) -> Int? {
        let name = package.name.text.lowercased()
        let about = (package.attributes[Attribute.description] ?? "").lowercased()
        let tagged = (package.attributes[Attribute.keywords] ?? "").lowercased()
        let own = tagged.split(separator: " ")
        guard keywords.allSatisfy({ own.contains($0[...]) }), scopes.allSatisfy({ name.hasPrefix("@\($0)/") }) else { return nil }
        var weight = 1
        for word in words {
            if name == word {
                weight += 100
            } else if name.contains(word) {
                weight += 20
            } else if tagged.contains(word) {
                weight += 10
            } else if about.contains(word) {
                weight += 5
            } else {
                return nil
            }
        }
        return weight
    }
}

/// Answers of a registry that knows of no advisories.
enum Audit {
    static let nothingFound: JSON = [
        "actions": [], "advisories": [:], "muted": [],
        "metadata": [
            "vulnerabilities": ["info": 0, "low": 0, "moderate": 0, "high": 0, "critical": 0],
            "dependencies": 0, "devDependencies": 0, "optionalDependencies": 0, "totalDependencies": 0,
        ],
    ]
}
