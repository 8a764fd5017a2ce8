import Core

/// Tells what of a stream is a tar's headers, and what its files' contents: with every version all headers change, and few contents. A stream that
/// does not begin as a tar has no headers. Where it is cut decides how well it is kept, never whether it is right.
struct TarSplit {
    private enum Mode {
        case start
        /// A block that may be a header.
        case header
        case content(Int64)
        /// Of entries that describe the next one: they change like headers.
        case headerContent(Int64)
        case noTar
    }

    private static let blockBytes = 512
    private var mode = Mode.start
    private var block: [UInt8] = []

    /// Calls `body` with what the bytes are, in their order. What may be a header waits until it is complete.
    mutating func take(
        _ bytes: ArraySlice<UInt8>, _ body: (_ isHeader: Bool, ArraySlice<UInt8>) throws(RegistryError) -> Void
    ) throws(RegistryError) {
        var rest = bytes
        while !rest.isEmpty {
            switch mode {
            case .noTar:
                try body(false, rest)
                return
            case .content(let left), .headerContent(let left):
                let some = rest.prefix(Int(min(left, Int64(rest.count))))
                rest = rest.dropFirst(some.count)
                var isHeader = false
                if case .headerContent = mode { isHeader = true }
                try body(isHeader, some)
                let after = left - Int64(some.count)
                mode = after == 0 ? .header : isHeader ? .headerContent(after) : .content(after)
            case .start, .header:
                let some = rest.prefix(TarSplit.blockBytes - block.count)
                block.append(contentsOf: some)
                rest = rest.dropFirst(some.count)
                if block.count == TarSplit.blockBytes { try endBlock(body) }
            }
        }
    }

    /// The stream has ended.
    mutating func finish(_ body: (_ isHeader: Bool, ArraySlice<UInt8>) throws(RegistryError) -> Void) throws(RegistryError) {
        if !block.isEmpty { try body(false, block[...]) }
        block = []
    }

    private mutating func endBlock(_ body: (_ isHeader: Bool, ArraySlice<UInt8>) throws(RegistryError) -> Void) throws(RegistryError) {
        let isTar = block[257..<262].elementsEqual("ustar".utf8)
        if case .start = mode, !isTar {
            mode = .noTar
            try body(false, block[...])
        } else {
            mode = isTar ? TarSplit.mode(after: block) : .header
            try body(true, block[...])
        }
        block.removeAll(keepingCapacity: true)
    }

    private static func mode(after block: [UInt8]) -> Mode {
        var size: Int64 = 0
        for byte in block[124..<136] where (48..<56).contains(byte) { size = size &* 8 &+ Int64(byte - 48) }
        // Twelve octal digits have 36 bits.
        guard size > 0 else { return .header }
        let padded = (size + Int64(blockBytes) - 1) / Int64(blockBytes) * Int64(blockBytes)
        return "xgLK".utf8.contains(block[156]) ? .headerContent(padded) : .content(padded)
    }
}
