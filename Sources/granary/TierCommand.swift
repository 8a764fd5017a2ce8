import ArgumentParser
import BlobStore
import Core
import Logging
import Outbound

#if canImport(Glibc)
    import Glibc
#endif

struct TierCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tier", abstract: "The bucket or directory under a store's disk.", subcommands: [Adopt.self])

    struct Adopt: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take the configured tier over for this data directory.",
            discussion: """
                For when the machine that worked on the tier is gone for good. A server that still runs there stops writing to the tier \
                within a minute; what it stores in that minute may be lost: stop it first. Then start the server here. \
                Exit codes: 0 done; 66 there is nothing to take over; 78 a setting is wrong; 1 failed.
                """)
        @OptionGroup var settings: SettingFlags

        func run() async throws {
            let configuration = try settings.load()
            LoggingSystem.bootstrap { label in JSONLines(label: label, level: .error) }
            try await Exit.saying { () async throws(RegistryError) in
                let log = Logger(label: "granary")
                let outbound = try configuration.outboundClient(log)
                defer { outbound.close() }
                guard let tier = try await Tier.configured(configuration, outbound, .real, log, isKnown: false) else {
                    throw Configuration.refused("s3_bucket", "no tier is configured: name a bucket, or tier_directory")
                }
                let store = try Directories(at: configuration.data).blobs
                guard mkdir(store, 0o700) == 0 || errno == EEXIST else {
                    throw RegistryError(.internal, subject: .store, reason: "\(store) cannot be made", cause: "mkdir: errno \(errno)")
                }
                let before = try await TierAdoption.adopt(tier, by: store, world: .real)
                print("tier: \(tier.place)\nbefore: \(before ?? "nobody")")
            }
        }
    }
}
