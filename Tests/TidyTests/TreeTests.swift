import Testing

/// The tree itself: what may not be in it, and what must be.
@Suite("tree") struct TreeTests {
    @Test("git lists the tree, so the rules judge something")
    func treeIsSeen() {
        #expect(Tree.files.contains("Package.swift"))
        #expect(Tree.sources.count > 10)
    }

    @Test("no placeholder stands in a room that has real code")
    func placeholders() {
        let rooms = Dictionary(grouping: Tree.files.filter { $0.hasSuffix(".swift") }) { path in
            path.split(separator: "/").dropLast().joined(separator: "/")
        }
        let orphans = rooms.filter { $0.value.count > 1 && $0.value.contains("\($0.key)/Room.swift") }
        #expect(orphans.keys.sorted() == [])
    }

    @Test("no build product, tool or datum of a run is tracked")
    func products() {
        let folders = [".build", ".swiftpm", ".tools", ".data", "__pycache__", "DerivedData"]
        let offenders = Tree.tracked.filter { path in
            let parts = path.split(separator: "/").map(String.init)
            return parts.contains { folders.contains($0) || $0.hasPrefix(".build-") || $0.hasPrefix(".build_") }
                || ["Package.resolved"].contains(parts.last ?? "") || [".profraw", ".o", ".a", ".so", ".pyc"].contains { path.hasSuffix($0) }
        }
        #expect(offenders == [])
    }

    @Test("no file names a folder of the machine it was written on, nor a package registry's host")
    func machinePaths() {
        // Spelled in pieces, so that this file does not offend.
        let roots = ["work", "wt", "farm", "root", "Users"].map { "/" + $0 + "/" }
        let hosts = ["deb.debian" + ".org", "pypi" + ".org", "files.python" + "hosted.org", "registry.npmjs" + ".org"]
        var offenders: [String] = []
        for path in Tree.files {
            for (number, line) in Tree.text(of: path).split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                let rooted = roots.contains { root in
                    line.ranges(of: root).contains { range in
                        range.lowerBound == line.startIndex || " \t\"'`(=:,".contains(line[line.index(before: range.lowerBound)])
                    }
                }
                if rooted || hosts.contains(where: { line.contains($0) }) { offenders.append("\(path):\(number + 1)") }
            }
        }
        #expect(offenders == [])
    }

    @Test("what is to be run can be run")
    func executables() {
        let programs = Tree.files.filter { path in
            let name = path.split(separator: "/").last ?? ""
            return path == ".ci/run" || path.hasPrefix("scripts/hooks/") || (path.hasPrefix("scripts/") && !name.contains("."))
        }
        #expect(programs.count >= 5)
        #expect(programs.filter { !Tree.isExecutable($0) } == [])
    }

    @Test("CI runs scripts/test, the command a user runs")
    func ciRunsTheTests() {
        #expect(Tree.text(of: ".ci/run").contains("scripts/test"))
    }

    @Test("shell scripts are strict or take it from the library")
    func strictShell() {
        let scripts = Tree.files.filter { Tree.text(of: $0).hasPrefix("#!/usr/bin/env bash") }
        let loose = scripts.filter { path in
            let text = Tree.text(of: path)
            return !text.contains("set -euo pipefail") && !text.contains("lib.sh\"")
        }
        #expect(loose == [])
    }
}
