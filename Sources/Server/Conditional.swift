import Core
import FrontendKit
import HTTPTypes
import NIOCore

/// What becomes of a response under the request's conditions: HEAD, conditional requests (RFC 9110 section 13) and a single byte range
/// (section 14). A pure function; sending is another matter.
enum Conditional {
    /// The head to send, and which of the content's bytes.
    struct Plan: Equatable {
        var status: HTTPResponse.Status
        /// The response's own, and what conditions add: ETag, Last-Modified, Accept-Ranges, Content-Range.
        var fields: HTTPFields
        /// Bytes of the content that follow; nil for none. Of a stream always the whole: `0..<Int64.max` when its length is unknown.
        var bytes: Range<Int64>?
        /// nil: unknown (a stream), or a status that has none.
        var contentLength: Int64?

        /// What the log says of a condition that did not hold; nil when none failed.
        var refusal: RegistryError? {
            switch status {
            case .rangeNotSatisfiable:
                RegistryError(.rangeUnsatisfiable, subject: .request, reason: "the range lies outside the content: \(fields[.contentRange] ?? "")")
            case .preconditionFailed: RegistryError(.conflict, subject: .request, reason: "the content is not the one the condition names")
            default: nil
            }
        }
    }

    static func evaluate(_ head: RequestHead, _ response: Response) -> Plan {
        let length = response.content.length
        var plan = Plan(status: response.status, fields: response.fields, bytes: 0..<(length ?? .max), contentLength: length)
        let isRead = head.method == .get || head.method == .head
        if let validator = response.validator {
            plan.fields[.eTag] = validator.etag
            if let time = validator.lastModified { plan.fields[.lastModified] = time.httpDate }
            if isRead, response.status == .ok {
                if response.content.isSeekable { plan.fields[.acceptRanges] = "bytes" }
                apply(head.fields, validator, response.content, to: &plan)
            }
        }
        if plan.status.forbidsContent {
            plan.bytes = nil
            plan.contentLength = nil
        }
        if head.method == .head || plan.bytes?.isEmpty == true { plan.bytes = nil }
        return plan
    }

    /// In the order of RFC 9110 section 13.2.2.
    private static func apply(_ fields: HTTPFields, _ validator: Response.Validator, _ content: Response.Content, to plan: inout Plan) {
        if let wanted = fields[.ifMatch] {
            guard matches(wanted, validator.etag, weakly: false) else { return plan.fail(.preconditionFailed) }
        } else if let since = fields[.ifUnmodifiedSince].flatMap(Timestamp.init(httpDate:)), let modified = validator.lastModified {
            guard modified.seconds <= since.seconds else { return plan.fail(.preconditionFailed) }
        }
        if let known = fields[.ifNoneMatch] {
            if matches(known, validator.etag, weakly: true) { return plan.notModified() }
        } else if let since = fields[.ifModifiedSince].flatMap(Timestamp.init(httpDate:)), let modified = validator.lastModified {
            if modified.seconds <= since.seconds { return plan.notModified() }
        }
        guard content.isSeekable, let length = content.length, let range = fields[.range], isCurrent(fields[.ifRange], validator) else { return }
        switch ByteRange.parse(range, of: length) {
        case .whole: break
        case .unsatisfiable:
            plan.fail(.rangeNotSatisfiable)
            plan.fields[.contentRange] = "bytes */\(length)"
        case .part(let part):
            plan.status = .partialContent
            plan.fields[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(length)"
            plan.bytes = part
            plan.contentLength = part.upperBound - part.lowerBound
        }
    }

    /// If-Range: a strong entity tag or the exact date (RFC 9110 section 13.1.5); without one every Range counts.
    private static func isCurrent(_ condition: String?, _ validator: Response.Validator) -> Bool {
        guard let condition else { return true }
        if condition.hasPrefix("\"") { return condition == validator.etag }
        guard let date = Timestamp(httpDate: condition), let modified = validator.lastModified else { return false }
        return date.seconds == modified.seconds
    }

    /// A list of entity tags, or `*`. The strong comparison refuses weak tags on either side.
    static func matches(_ list: String, _ etag: String, weakly: Bool) -> Bool {
        var rest = Substring(list).trimmed
        if rest == "*" { return true }
        let isWeak = etag.hasPrefix("W/")
        let opaque = isWeak ? etag.dropFirst(2) : etag[...]
        while !rest.isEmpty {
            let weak = rest.hasPrefix("W/")
            if weak { rest = rest.dropFirst(2) }
            guard rest.first == "\"", let close = rest.dropFirst().firstIndex(of: "\"") else { return false }
            let tag = rest[...close]
            if tag == opaque, weakly || (!weak && !isWeak) { return true }
            rest = rest[rest.index(after: close)...].trimmed
            guard rest.isEmpty || rest.first == "," else { return false }
            rest = rest.dropFirst().trimmed
        }
        return false
    }
}

extension Conditional.Plan {
    fileprivate mutating func fail(_ status: HTTPResponse.Status) {
        self.status = status
        dropDescription()
        bytes = nil
        contentLength = 0
    }

    /// 304 keeps what a cache updates by (RFC 9110 section 15.4.5) and drops what describes the content that is not sent.
    fileprivate mutating func notModified() {
        status = .notModified
        dropDescription()
        bytes = nil
        contentLength = nil
    }

    private mutating func dropDescription() {
        for name in [HTTPField.Name.contentType, .contentEncoding, .contentLanguage, .contentDisposition, .acceptRanges] { fields[name] = nil }
    }
}

/// The Range field (RFC 9110 section 14.2), as far as we honour it: one range of bytes.
enum ByteRange: Equatable {
    /// No range we honour: several, another unit, or malformed. The whole is sent then.
    case whole
    case unsatisfiable
    case part(Range<Int64>)

    static func parse(_ text: String, of length: Int64) -> ByteRange {
        guard let equals = text.firstIndex(of: "="), text[..<equals].trimmed.lowercased() == "bytes" else { return .whole }
        let set = text[text.index(after: equals)...].trimmed
        guard !set.contains(","), let dash = set.firstIndex(of: "-") else { return .whole }
        let first = set[..<dash].trimmed
        let last = set[set.index(after: dash)...].trimmed
        if first.isEmpty {
            guard let count = number(last) else { return .whole }
            guard count > 0 else { return .unsatisfiable }
            return length == 0 ? .whole : .part(max(0, length - count)..<length)
        }
        guard let start = number(first) else { return .whole }
        var end = length
        if !last.isEmpty {
            guard let given = number(last), given >= start else { return .whole }
            end = given >= length ? length : given + 1
        }
        return start < length ? .part(start..<end) : .unsatisfiable
    }

    /// Digits only; what exceeds 63 bits is as good as the largest number.
    private static func number(_ text: Substring) -> Int64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return Int64(text) ?? .max
    }
}

extension Response.Content {
    /// Bytes in all; nil for a stream that announced none.
    var length: Int64? {
        switch self {
        case .none: 0
        case .bytes(let buffer): Int64(buffer.readableBytes)
        case .blob(let blob): blob.length
        case .stream(let body): body.length
        }
    }

    /// Whether it comes slice by slice from somewhere that may have to wait.
    var isStreamed: Bool {
        switch self {
        case .stream: true
        case .blob(let blob): if case .streamed = blob.storage { true } else { false }
        case .none, .bytes: false
        }
    }

    /// Of the bytes a plan chose; a stream without Range is all of it.
    func stream(of bytes: Range<Int64>) -> Body? {
        switch self {
        case .stream(let body): body
        case .blob(let blob): if case .streamed(let streamed) = blob.storage { streamed.body(of: bytes) } else { nil }
        case .none, .bytes: nil
        }
    }

    var isSeekable: Bool {
        switch self {
        case .bytes, .blob: true
        case .none, .stream: false
        }
    }
}

extension HTTPResponse.Status {
    /// 1xx, 204 and 304 end with their header section (RFC 9112 section 6.3).
    var forbidsContent: Bool { kind == .informational || code == 204 || code == 304 }
}

extension Substring {
    /// Without optional white space around it (RFC 9110 section 5.6.3).
    var trimmed: Substring {
        var rest = self
        while let first = rest.utf8.first, first == 0x20 || first == 0x09 { rest = rest.dropFirst() }
        while let last = rest.utf8.last, last == 0x20 || last == 0x09 { rest = rest.dropLast() }
        return rest
    }
}
