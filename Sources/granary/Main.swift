import ArgumentParser
import Core

/// The command line: composition root and nothing else.
@main
struct Granary: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "granary", abstract: "One process that speaks every package manager's own protocol.", version: Build.version,
        subcommands: [
            Serve.self, Sweep.self, Fsck.self, Backup.self, ShownKey.self, Restore.self, TierCommand.self, AuditCommand.self, MigrateCatalog.self,
            Config.self,
        ], defaultSubcommand: Serve.self)
}

/// What this binary is.
enum Build {
    static let version = "0.1.0"
}

/// The settings every command takes; each is also a key of the configuration file and an environment variable.
struct SettingFlags: ParsableArguments {
    @Option(help: "Configuration file (YAML).") var config: String?
    @Option(help: "Directory that holds everything (default ./data).") var data: String?
    @Option(help: "HOST:PORT to listen on (default 127.0.0.1:8080; port 0 takes a free one).") var listen: String?
    @Option(name: .customLong("port-file"), help: "File that gets the bound port once the server answers.") var portFile: String?
    @Option(name: .customLong("base-url"), help: "URL under which clients reach the server (default: the listen address).") var baseURL: String?
    @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning, error or critical.") var logLevel: String?
    @Flag(name: .customLong("strict-reads"), help: "Check every byte of every read before it leaves.") var strictReads = false
    @Option(name: .customLong("set"), help: "Any other setting of the configuration file, as NAME=VALUE.") var set: [String] = []

    /// - Throws: `ExitCode` after saying on standard error what is wrong.
    func load() throws -> Configuration {
        do { return try read() } catch let error as RegistryError {
            TextFile.complain("granary: \(error.reason)\n")
            throw ExitCode(78)  // sysexits.h: EX_CONFIG
        }
    }

    private func read() throws -> Configuration {
        var flags: [(name: String, value: String)] = []
        for (name, value) in [("data", data), ("listen", listen), ("port_file", portFile), ("base_url", baseURL), ("log_level", logLevel)] {
            if let value { flags.append((name, value)) }
        }
        if strictReads { flags.append(("strict_reads", "true")) }
        for pair in set {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard halves.count == 2 else { throw ValidationError("--set wants NAME=VALUE, not \(pair)") }
            flags.append((String(halves[0]), String(halves[1])))
        }
        return try Configuration.load(file: config, environment: Environment.variables, flags: flags)
    }
}

struct Config: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the effective settings, without secrets.")
    @OptionGroup var settings: SettingFlags

    func run() async throws {
        let configuration = try settings.load()
        print(configuration.effective, terminator: "")
    }
}
