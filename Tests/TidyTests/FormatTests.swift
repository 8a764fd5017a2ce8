import Testing

/// A format is a pure translator: it knows neither the kind of repository it serves nor, outside its error table, a status for a failure.
@Suite("formats") struct FormatTests {
    static let notFormats = ["Sources/Frontends/Kit/", "Sources/Frontends/Parsing/"]
    static let files = Tree.sources.filter { file in
        file.path.hasPrefix("Sources/Frontends/") && !notFormats.contains { file.path.hasPrefix($0) }
    }

    @Test("no format branches on local, remote or virtual")
    func kinds() {
        let kinds = [".remote", ".virtual", ".local", ".staging"]
        let offenders = Self.files.flatMap { file in
            file.offences { line in
                kinds.contains { kind in
                    line.ranges(of: kind).contains { range in
                        range.upperBound == line.endIndex || !(line[range.upperBound].isLetter || line[range.upperBound].isNumber)
                    }
                }
            }
        }
        #expect(offenders == [])
    }

    @Test("no format names a failure's status outside its table of errors")
    func statuses() {
        let offenders = Self.files.filter { !$0.name.hasSuffix("Errors.swift") }.flatMap { file in
            file.offences { line in
                line.lowercased().contains("status")
                    && line.split(whereSeparator: { !$0.isNumber && !$0.isLetter && $0 != "_" }).contains { word in
                        Int(word).map { (400...599).contains($0) } ?? false
                    }
            }
        }
        #expect(offenders == [])
    }

    @Test("the engine branches on kinds in Kinds.swift; beside it know of them: setting one up, care of remotes, its keys, the short road")
    func kindsOfRepositories() {
        let knowing = ["Kinds", "Repositories", "CacheLimits", "RemoteCare", "SigningKeys", "HotPath"].map { "Sources/Registry/\($0).swift" }
        let offenders = Tree.sources.filter { $0.path.hasPrefix("Sources/Registry/") && !knowing.contains($0.path) }.flatMap { file in
            file.offences { line in
                ["repository.kind", "member.kind", ".kind == .local", ".kind == .remote", ".kind == .virtual"].contains { line.contains($0) }
            }
        }
        #expect(offenders == [])
    }
}
