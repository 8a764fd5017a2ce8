import Core
import NIOCore
import Outbound
import Synchronization
import TestSupport
import Testing

@testable import S3Tier

@Suite("The client of a bucket") struct ClientTests {
    private func random(_ count: Int) -> [UInt8] { World.real.randomBytes(count) }

    private func whole(_ body: Body) async throws -> [UInt8] { Array(try await body.collect().readableBytesView) }

    private func error(_ work: () async throws -> Void) async -> RegistryError? {
        do {
            try await work()
            return nil
        } catch { return error as? RegistryError }
    }

    @Test("what was put is read whole, in ranges, listed below the prefix, and deleted")
    func roundTrip() async throws {
        let bucket = try await ScriptedBucket.start()
        let objects = ["one": random(3000), "two": random(12_345), "two3": random(5000), "empty": []]
        for (name, bytes) in objects { try await bucket.client.put(name, ScriptedBucket.bytes(bytes)) }
        #expect(bucket.objects == Dictionary(uniqueKeysWithValues: objects.map { ("a/b/" + $0.key, $0.value) }))
        for (name, bytes) in objects {
            #expect(try await whole(bucket.client.get(name, 0..<Int64(bytes.count))) == bytes)
            #expect(try await bucket.client.length(of: name) == Int64(bytes.count))
        }
        #expect(try await whole(bucket.client.get("two", 7000..<7010)) == Array((objects["two"] ?? [])[7000..<7010]))
        var listed: [String] = []
        var page: String?
        repeat {
            let some = try await bucket.client.list(prefix: "t", page: page)
            listed += some.objects.map(\.name)
            page = some.next
        } while page != nil
        #expect(listed == ["two", "two3"])
        for name in objects.keys { try await bucket.client.delete(name) }
        try await bucket.client.delete("one")
        #expect(bucket.objects.isEmpty)
        #expect(try await bucket.client.length(of: "one") == nil)
        await bucket.server.stop()
    }

    @Test("what may pass is asked again, within the tries, and what may not is told at once, in words")
    func repetition() async throws {
        let count = Tally()
        let busy = try await ScriptedBucket.start(before: { _ in count.next() <= 3 ? ScriptedBucket.refusal(503, "SlowDown") : nil })
        try await busy.client.put("x", ScriptedBucket.bytes([1, 2, 3]))
        #expect(busy.objects == ["a/b/x": [1, 2, 3]])
        #expect(count.count == 5)  // three refusals, the object, the look at its length
        await busy.server.stop()

        let cases: [(Int, String, String)] = [
            (403, "InvalidAccessKeyId", "it does not know this access key"),
            (403, "SignatureDoesNotMatch", "the signature does not match: is the secret key right?"),
            (404, "NoSuchBucket", "there is no such bucket"),
            (403, "RequestTimeTooSkewed", "this machine's clock is wrong"),
            (301, "PermanentRedirect", "the bucket is in another region or at another endpoint"),
        ]
        for (status, code, words) in cases {
            let asked = Tally()
            let refusing = try await ScriptedBucket.start(before: { _ in
                _ = asked.next()
                return ScriptedBucket.refusal(status, code)
            })
            let error = await error { try await refusing.client.put("x", ScriptedBucket.bytes([1])) }
            #expect(error?.reason == "the object store did not store an object: \(words)")
            #expect(error?.code == .upstreamFailed)
            #expect(asked.count == 1)
            await refusing.server.stop()
        }
        let down = try await ScriptedBucket.start(triesMax: 3, before: { _ in ScriptedBucket.refusal(500, "InternalError") })
        let error = await error { _ = try await down.client.length(of: "x") }
        #expect(error?.retryAfterSeconds == 5)
        #expect(down.server.counts.requests == 3)
        await down.server.stop()
    }

    @Test("with every fifth request refused, reset or lost, everything put is there, whole")
    func faults() async throws {
        let (before, after) = (Tally(), Tally())
        let bucket = try await ScriptedBucket.start(
            triesMax: 8,
            before: { _ in
                switch before.next() % 15 {
                case 3: ScriptedBucket.refusal(503, "SlowDown")
                case 9: .init(raw: [.reset])
                default: nil
                }
            },
            after: { _ in after.next() % 15 == 7 ? .init(raw: [.reset]) : nil })
        for number in 0..<20 {
            let bytes = random(number * 1500)
            try await bucket.client.put("n\(number)", ScriptedBucket.bytes(bytes))
            #expect(bucket.objects["a/b/n\(number)"] == bytes)
        }
        await bucket.server.stop()
    }

    @Test("a completion whose answer was lost has happened")
    func lostCompletion() async throws {
        let count = Tally()
        let bucket = try await ScriptedBucket.start(after: { request in
            request.method == "POST" && request.target.contains("uploadId") && count.next() == 1 ? ScriptedBucket.refusal(500, "InternalError") : nil
        })
        let bytes = random(11_000)
        try await bucket.client.put("x", ScriptedBucket.bytes(bytes))
        #expect(bucket.objects == ["a/b/x": bytes])
        #expect(count.count == 2)
        await bucket.server.stop()
    }

    @Test("parts of an upload that failed are deleted, and those a crash left are found")
    func leftovers() async throws {
        let bucket = try await ScriptedBucket.start(before: { request in
            request.method == "PUT" && request.target.contains("partNumber=2") ? ScriptedBucket.refusal(403, "AccessDenied") : nil
        })
        #expect(await error { try await bucket.client.put("x", ScriptedBucket.bytes(random(11_000))) }?.code == .upstreamFailed)
        #expect(bucket.state.state.withLock { $0.parts.isEmpty })
        bucket.state.state.withLock { $0.parts["left"] = [1: [1]] }
        let uploads = try await bucket.client.uploads(prefix: "")
        #expect(uploads == [S3Upload(name: "x", id: "left", begun: nil)])
        for upload in uploads { try await bucket.client.abort(upload) }
        #expect(bucket.state.state.withLock { $0.parts.isEmpty })
        await bucket.server.stop()
    }

    @Test("an object that is not stored whole is an error, as is another range than asked for")
    func lies() async throws {
        let bucket = try await ScriptedBucket.start(before: { request in
            switch request.method {
            case "HEAD": .init(200, [("Content-Length", "2")], steps: [])
            case "GET": .status(206, [("Content-Range", "bytes 0-1/9")], [1, 2])
            default: nil
            }
        })
        let put = await error { try await bucket.client.put("x", ScriptedBucket.bytes([1, 2, 3])) }
        #expect(put?.reason == "the object store took an object of 3 bytes and has 2")
        let get = await error { _ = try await bucket.client.get("x", 0..<3) }
        #expect(get?.reason == "the object store gave another range than 0 to 3")
        await bucket.server.stop()
    }

    @Test("settings that cannot work are refused by name; addresses follow the style")
    func settings() throws {
        func address(_ change: (inout S3Options) -> Void) throws -> S3Address {
            var options = S3Options(bucket: "bucket", region: "eu-west-1", credentials: S3Credentials(accessKey: "a", secretKey: "b"))
            change(&options)
            return try S3Address(options)
        }
        func setting(_ change: (inout S3Options) -> Void) -> String {
            do { _ = try address(change) } catch { return "\((error as? RegistryError)?.subject ?? .store)" }
            return ""
        }
        #expect(setting { $0.bucket = "Ab" } == "setting s3_bucket")
        #expect(setting { $0.region = "" } == "setting s3_region")
        #expect(setting { $0.endpoint = "host/path" } == "setting s3_endpoint")
        #expect(setting { $0.prefix = "a//b" } == "setting s3_prefix")
        #expect(setting { $0.credentials = S3Credentials(accessKey: "a", secretKey: "") } == "setting s3_access_key_id")
        let amazon = try address { _ in }
        #expect("\(amazon.origin)\(amazon.path("x y"))" == "https://bucket.s3.eu-west-1.amazonaws.com/x%20y")
        let own = try address { ($0.endpoint, $0.prefix) = ("http://127.0.0.1:9000/", "p/q") }
        #expect("\(own.origin)\(own.path("x"))" == "http://127.0.0.1:9000/bucket/p/q/x")
        #expect(own.host == "127.0.0.1:9000")
        let dotted = try address { $0.bucket = "a.b" }
        #expect("\(dotted.origin)\(dotted.path(nil))" == "https://s3.eu-west-1.amazonaws.com/a.b")
        let virtual = try address { ($0.endpoint, $0.pathStyle) = ("https://store.example", false) }
        #expect("\(virtual.origin)\(virtual.path(nil))" == "https://bucket.store.example/")
    }

    @Test("an endpoint on this machine is reached only when that is allowed")
    func loopback() async throws {
        let bucket = try await ScriptedBucket.start()
        var options = ScriptedBucket.options(bucket.server.port)
        options.addressPolicy = .publicOnly
        let outbound = try OutboundClient(log: ScriptedBucket.log, world: .real)
        let client = try S3Client(options, outbound: outbound, world: .real, log: ScriptedBucket.log)
        let error = await error { _ = try await client.length(of: "x") }
        #expect(error?.reason == "its address is in a range that requests to it may not reach")
        #expect(bucket.server.counts.requests == 0)
        await bucket.server.stop()
    }

    @Test("the name of an endpoint that the operator set is asked for, whatever name it is")
    func named() async throws {
        let proxy = try await ScriptedServer.start { _ in .status(404) }
        var options = ScriptedBucket.options(proxy.port)
        (options.endpoint, options.addressPolicy) = ("http://store", .publicOnly)
        let outbound = try OutboundClient(options: .init(proxy: "http://127.0.0.1:\(proxy.port)"), log: ScriptedBucket.log, world: .real)
        let client = try S3Client(options, outbound: outbound, world: .real, log: ScriptedBucket.log)
        #expect(try await client.length(of: "x") == nil)
        #expect(proxy.requests.first?.target.hasPrefix("http://store/") == true)
        await proxy.stop()
    }
}
