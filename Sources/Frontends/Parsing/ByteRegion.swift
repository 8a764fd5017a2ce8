public import Core

/// A stretch of other bytes, read as if it were all: a member of an archive.
public struct ByteRegion: RandomAccessBytes {
    private let whole: any RandomAccessBytes
    private let range: Range<Int64>

    /// - Throws: `invalid` when the range does not lie within `whole`.
    public init(_ whole: any RandomAccessBytes, _ range: Range<Int64>) throws(RegistryError) {
        guard range.lowerBound >= 0, range.upperBound <= whole.size else { throw refused("archive", "a member reaches beyond the end of the file") }
        self.whole = whole
        self.range = range
    }

    public var size: Int64 { range.upperBound - range.lowerBound }

    public func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(RegistryError) -> Int {
        guard offset >= 0, offset < size else { return 0 }
        let count = Int(min(Int64(buffer.count), size - offset))
        return try whole.read(at: range.lowerBound + offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
    }
}
