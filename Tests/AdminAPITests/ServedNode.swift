import Core
import FrontendKit
import Logging
import NIOCore
import Outbound
import Registry
import Server
import TestHouse
import TestSupport

/// A node with its socket, where the others find it.
struct ServedNode {
    /// What a client got of a file, and whether it took that for all of it.
    struct Download: Sendable, Equatable {
        var status = 0
        var bytes: [UInt8] = []
        var isWhole = false
    }

    let house: House
    let server: HTTPServer
    let port: Int

    init(_ house: House, gracefulSeconds: Double = 30) async throws {
        self.house = house
        var options = ServerOptions(host: "127.0.0.1", port: 0)
        options.trustedProxies = ["127.0.0.0/8"].compactMap { CIDR($0) }
        options.gracefulSeconds = gracefulSeconds
        server = HTTPServer(
            options: options, responder: house.responder, world: .real, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            metrics: Metrics())
        port = try await server.start()
        try await house.nodes?.announce("http://127.0.0.1:\(port)")
    }

    func ask(
        _ method: FetchRequest.Method, _ target: String, _ fields: [(String, String)] = [], body: Body? = nil, as password: String? = House.password
    ) async throws -> (status: Int, text: String, answer: FetchResponse) {
        var request = FetchRequest(method, url: "http://127.0.0.1:\(port)\(target)", fields: fields, body: body)
        request.credentials = password.map { .basic(user: "admin", password: $0) }
        request.addressPolicy = AddressPolicy(allowPrivate: true)
        let answer = try await house.outbound.fetch(request)
        return (answer.status, String(buffer: try await answer.body.collect()), answer)
    }

    /// - Parameter begun: the first bytes are here.
    func download(_ target: String, begun: @Sendable () -> Void = {}) async -> Download {
        var request = FetchRequest(url: "http://127.0.0.1:\(port)\(target)")
        request.addressPolicy = AddressPolicy(allowPrivate: true)
        request.countsFailures = false
        var got = Download()
        do throws(RegistryError) {
            let answer = try await house.outbound.fetch(request)
            got.status = answer.status
            while let slice = try await answer.body.next() {
                if got.bytes.isEmpty { begun() }
                got.bytes += slice.readableBytesView
            }
            got.isWhole = true
        } catch {
            got.isWhole = false
        }
        return got
    }
}

extension NodeHouses {
    func served(gracefulSeconds: Double = 30) async throws -> [ServedNode] {
        var served: [ServedNode] = []
        for house in houses { served.append(try await ServedNode(house, gracefulSeconds: gracefulSeconds)) }
        return served
    }

    /// Another node, which a test plays.
    /// - Returns: its number.
    func joined(by server: ScriptedServer) async throws -> UInt16 {
        let node = try await Nodes.joining(self[0].catalog, as: World.real.newID(), client: self[0].outbound, world: clock.world)
        try await node.announce(server.url())
        return node.number
    }
}

extension [ServedNode] {
    func stop() async { for node in self { await node.server.stop() } }
}
