// Parsing: bounded readers of foreign formats. Every reader takes a `Budget`, returns a value or throws a `RegistryError`, and never traps,
// never recurses deeper than 64 levels, never reserves memory that the input merely announces. Nothing here opens a file, knows a clock or
// writes to disk: archives are read through `RandomAccessBytes`, on a worker thread.

import Core

/// What one reading may cost. Each reader checks all that apply to it, before it spends.
public struct Budget: Sendable, Hashable {
    /// No reader nests deeper, whatever a caller asks for: recursion must fit any thread's stack.
    public static let depthMax = 64

    /// Bytes of input read into memory: a document's length, a zip's central directory, a tar's headers.
    public var bytes: Int
    /// Bytes after decompression, summed over the whole archive.
    public var expandedBytes: Int64
    /// Levels of nesting.
    public var depth: Int
    /// Values, members, entries, parts, anchors.
    public var items: Int
    /// Expanded bytes per stored byte that an archive may have once it expands beyond `ratioFloorBytes`.
    public var ratio: Int64 = 50

    /// Below this an archive may expand as it likes: small files of zeros are common and harmless.
    public static let ratioFloorBytes: Int64 = 64 << 20

    public init(bytes: Int, expandedBytes: Int64 = 0, depth: Int = Budget.depthMax, items: Int) {
        self.bytes = bytes
        self.expandedBytes = expandedBytes
        self.depth = min(depth, Budget.depthMax)
        self.items = items
    }

    /// A document that a client sends in one piece.
    public static let document = Budget(bytes: 1 << 20, items: 100_000)
    /// A document of an upstream: an index page, a packument.
    public static let upstreamDocument = Budget(bytes: 64 << 20, items: 2_000_000)
    /// An archive whose entries are listed and a few of them read; listing expands nothing.
    public static let archive = Budget(bytes: 32 << 20, expandedBytes: 32 << 30, items: 200_000)
    /// An archive that must be expanded from front to end to find anything in it.
    public static let stream = Budget(bytes: 32 << 20, expandedBytes: 1 << 30, items: 200_000)

    /// Whether `expanded` bytes out of `stored` ones are within both the sum and the ratio.
    func allows(expanded: Int64, from stored: Int64) -> Bool {
        guard expanded <= expandedBytes else { return false }
        let (limit, overflow) = max(stored, 1).multipliedReportingOverflow(by: ratio)
        return expanded <= Budget.ratioFloorBytes || overflow || expanded <= limit
    }
}

/// The one refusal of this room: which thing is wrong, and exactly how.
func refused(_ thing: String, _ reason: String, file: String = #fileID, line: Int = #line) -> RegistryError {
    RegistryError(.invalid, subject: .field(thing), reason: reason, file: file, line: line)
}
