import Core
import NIOCore

/// Reads what a tier has into a file: in ranges, a few at once; what breaks off is asked for again from there.
struct PiecedRead: Sendable {
    struct Piece: Sendable {
        let name: TierName
        let range: Range<Int64>
        /// Where it goes in the file.
        let offset: Int64
    }

    private static let pieceBytes: Int64 = 8 << 20
    private static let piecesAtOnce = 3
    private static let triesMax = 3

    let tier: any SegmentTier
    let pool: BlockingPool

    static func pieces(of name: TierName, _ range: Range<Int64>, at offset: Int64) -> [Piece] {
        stride(from: range.lowerBound, to: range.upperBound, by: Int64.Stride(pieceBytes)).map { start in
            Piece(name: name, range: start..<min(start + pieceBytes, range.upperBound), offset: offset + start - range.lowerBound)
        }
    }

    /// - Throws: what the tier throws.
    func read(_ pieces: [Piece], into file: OpenFile) async throws(RegistryError) {
        let failure = await withTaskGroup(of: RegistryError?.self) { group in
            var rest = pieces.makeIterator()
            var failure: RegistryError?
            func addNext() {
                guard failure == nil, let piece = rest.next() else { return }
                group.addTask {
                    do throws(RegistryError) {
                        try await self.read(piece, into: file)
                        return nil
                    } catch { return error }
                }
            }
            for _ in 0..<PiecedRead.piecesAtOnce { addNext() }
            while let ended = await group.next() {
                if failure == nil, let ended {
                    failure = ended
                    group.cancelAll()
                }
                addNext()
            }
            return failure
        }
        if let failure { throw failure }
    }

    private func read(_ piece: Piece, into file: OpenFile) async throws(RegistryError) {
        var at = piece.range.lowerBound
        var tries = 1
        while at < piece.range.upperBound {
            do throws(RegistryError) {
                let body = try await tier.read(piece.name, at..<piece.range.upperBound)
                while let slice = try await body.next() {
                    let target = piece.offset + at - piece.range.lowerBound
                    guard Int64(slice.readableBytes) <= piece.range.upperBound - at else { throw PiecedRead.wrong("it gave too many bytes") }
                    try await pool.run { () throws(RegistryError) in
                        try slice.withBytes { bytes throws(RegistryError) in try unsafe Disk.write(bytes, to: file, at: target) }
                    }
                    at += Int64(slice.readableBytes)
                }
                guard at == piece.range.upperBound else { throw PiecedRead.wrong("it gave fewer bytes than it has") }
            } catch {
                guard tries < PiecedRead.triesMax, error.retryAfterSeconds != nil, !Task.isCancelled else { throw error }
                tries += 1
            }
        }
    }

    /// At most 1 MiB, into memory.
    func collect(_ name: TierName, _ range: Range<Int64>) async throws(RegistryError) -> ByteBuffer {
        var tries = 1
        while true {
            do throws(RegistryError) {
                let bytes = try await tier.read(name, range).collect()
                guard bytes.readableBytes == range.count else { throw PiecedRead.wrong("it gave fewer bytes than it has") }
                return bytes
            } catch {
                guard tries < PiecedRead.triesMax, error.code == .upstreamFailed, error.retryAfterSeconds != nil, !Task.isCancelled else {
                    throw error
                }
                tries += 1
            }
        }
    }

    private static func wrong(_ cause: String) -> RegistryError {
        RegistryError(.upstreamFailed, subject: .store, reason: "the tier gave another length than was asked for", cause: cause, retryAfterSeconds: 5)
    }
}
