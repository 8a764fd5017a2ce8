import Core

/// A walk over extents in slices, clipped to a range of the whole.
struct FileCursor {
    struct Slice {
        var file: OpenFile
        var offset: Int64
        var length: Int
    }

    private var rest: ArraySlice<Extent>

    init(_ extents: [Extent], _ range: Range<Int64>) {
        var start: Int64 = 0
        var kept: [Extent] = []
        for extent in extents {
            let part = range.clamped(to: start..<start + extent.length)
            if !part.isEmpty {
                kept.append(Extent(file: extent.file, offset: extent.offset + part.lowerBound - start, length: part.upperBound - part.lowerBound))
            }
            start += extent.length
        }
        rest = kept[...]
    }

    var extents: ArraySlice<Extent> { rest }
    var isEmpty: Bool { rest.isEmpty }

    mutating func next(upTo bytesMax: Int) -> Slice? {
        guard let first = rest.first else { return nil }
        let length = min(Int64(bytesMax), first.length)
        if length == first.length {
            rest.removeFirst()
        } else {
            rest[rest.startIndex] = Extent(file: first.file, offset: first.offset + length, length: first.length - length)
        }
        return Slice(file: first.file, offset: first.offset, length: Int(length))
    }
}
