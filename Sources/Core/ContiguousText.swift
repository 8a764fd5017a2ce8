extension StringProtocol {
    /// `body` on the text's UTF-8 in one piece. Names, digests and ids are checked in every request, and each byte of the generic view costs a call.
    func withUTF8Bytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        let result = utf8.withContiguousStorageIfAvailable { unsafe body(Span(_unsafeElements: $0)) }
        return result ?? body(Array(utf8).span)
    }
}

extension Span<UInt8> {
    func allBytes(_ isAllowed: (UInt8) -> Bool) -> Bool {
        for index in indices where !isAllowed(self[index]) { return false }
        return true
    }
}
