import BlobStore
import Core
import FrontendKit
import NIOCore
import Parsing
import Synchronization

/// Takes the files out of a JSON document while it arrives: they are decoded and staged, the rest is text of bounded length.
final class JSONReceiver: ByteSink {
    private struct State {
        var machine: JSONFileMachine
        var files: [(name: String, staging: Staging)] = []
    }

    private let digests: DigestSet
    private let blobs: BlobStore
    private let state: Mutex<State>

    init(filesIn member: String, isFile: @escaping @Sendable (String) -> Bool, digests: DigestSet, blobs: BlobStore) {
        self.digests = digests
        self.blobs = blobs
        state = Mutex(State(machine: JSONFileMachine(member: member, isWanted: isFile)))
    }

    func write(_ slice: ByteBuffer) throws(RegistryError) {
        try state.withLock { (state: inout State) throws(RegistryError) in
            for event in try state.machine.receive(slice) {
                switch event {
                case .fileBegan(let name): state.files.append((name, try blobs.stage(expectedLength: nil, digests: digests)))
                case .fileBytes(let bytes): try state.files.last?.staging.write(bytes)
                case .fileEnded: break
                }
            }
        }
    }

    func finish() async throws(RegistryError) -> [Part] {
        let (files, rest) = try state.withLock { (state: inout State) throws(RegistryError) in
            try state.machine.end()
            return (state.files, state.machine.rest)
        }
        guard let text = String(validating: rest, as: UTF8.self) else {
            throw RegistryError(.invalid, subject: .request, reason: "the document is not UTF-8")
        }
        var parts: [Part] = []
        for file in files {
            parts.append(Part(name: file.name, fileName: file.name, contentType: nil, content: .staged(try await file.staging.finish())))
        }
        return parts + [Part(name: "", fileName: nil, contentType: nil, content: .text(text))]
    }
}
