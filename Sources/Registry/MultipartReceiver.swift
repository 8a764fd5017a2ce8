import BlobStore
import Core
import FrontendKit
import NIOCore
import Parsing
import Synchronization

/// Takes a multipart body apart while it arrives: files are staged, the rest is text of at most 1 MiB in all.
final class MultipartReceiver: ByteSink {
    private enum Open {
        case file(Staging)
        case text([UInt8])
    }

    private struct Received {
        var name: String
        var fileName: String?
        var contentType: String?
        var content: Open
    }

    private struct State {
        var machine: MultipartMachine
        var parts: [Received] = []
        var textBytes = 0
    }

    private static let textBytesMax = 1 << 20
    private static let filesMax = 16

    private let digests: DigestSet
    private let blobs: BlobStore
    private let state: Mutex<State>

    init(contentType: String, digests: DigestSet, blobs: BlobStore) throws(RegistryError) {
        let machine = try MultipartMachine(boundary: try Multipart.boundary(ofContentType: contentType))
        self.digests = digests
        self.blobs = blobs
        state = Mutex(State(machine: machine))
    }

    func write(_ slice: ByteBuffer) throws(RegistryError) {
        try state.withLock { (state: inout State) throws(RegistryError) in
            for event in try state.machine.receive(slice) { try take(event, &state) }
        }
    }

    private func take(_ event: Multipart.Event, _ state: inout State) throws(RegistryError) {
        switch event {
        case .partBegan(let head):
            let content: Open
            if head.filename != nil {
                guard state.parts.count(where: { $0.fileName != nil }) < MultipartReceiver.filesMax else {
                    throw RegistryError(.tooLarge, subject: .request, reason: "a form may carry at most \(MultipartReceiver.filesMax) files")
                }
                content = .file(try blobs.stage(expectedLength: nil, digests: digests))
            } else {
                content = .text([])
            }
            state.parts.append(Received(name: head.name, fileName: head.filename, contentType: head.contentType, content: content))
        case .partBytes(let bytes):
            guard let last = state.parts.indices.last else { preconditionFailure("the machine gives bytes only inside a part") }
            switch state.parts[last].content {
            case .file(let staging): try staging.write(bytes)
            case .text(var text):
                state.textBytes += bytes.readableBytes
                guard state.textBytes <= MultipartReceiver.textBytesMax else {
                    throw RegistryError(.tooLarge, subject: .request, reason: "the form's text fields may have at most 1 MiB in all")
                }
                text.append(contentsOf: bytes.readableBytesView)
                state.parts[last].content = .text(text)
            }
        case .partEnded: break
        case .finished: break
        }
    }

    func finish() async throws(RegistryError) -> [Part] {
        let received = try state.withLock { (state: inout State) throws(RegistryError) in
            // A form that ends before its last boundary was cut.
            try state.machine.end()
            return state.parts
        }
        var parts: [Part] = []
        for part in received {
            let content: Part.Content
            switch part.content {
            case .file(let staging): content = .staged(try await staging.finish())
            case .text(let bytes):
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    throw RegistryError(.invalid, subject: .field(part.name), reason: "the form field \(part.name) is not UTF-8")
                }
                content = .text(text)
            }
            parts.append(Part(name: part.name, fileName: part.fileName, contentType: part.contentType, content: content))
        }
        return parts
    }
}
