import Core
import FrontendKit
import HTTPTypes
import Parsing

/// Failures in the dialect of distribution-spec 1.1, "Error codes": the one place that knows codes and statuses.
enum OCIErrors {
    /// Those of the specification, and the two that distribution sends for what is nobody's fault.
    enum Code: String, CaseIterable {
        case blobUnknown = "BLOB_UNKNOWN"
        case blobUploadInvalid = "BLOB_UPLOAD_INVALID"
        case blobUploadUnknown = "BLOB_UPLOAD_UNKNOWN"
        case digestInvalid = "DIGEST_INVALID"
        case manifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
        case manifestInvalid = "MANIFEST_INVALID"
        case manifestUnknown = "MANIFEST_UNKNOWN"
        case nameInvalid = "NAME_INVALID"
        case nameUnknown = "NAME_UNKNOWN"
        case sizeInvalid = "SIZE_INVALID"
        case unauthorized = "UNAUTHORIZED"
        case denied = "DENIED"
        case unsupported = "UNSUPPORTED"
        case tooManyRequests = "TOOMANYREQUESTS"
        case unavailable = "UNAVAILABLE"
        case unknown = "UNKNOWN"
    }

    static func reply(to failure: RegistryError, for request: RequestHead, in context: ErrorContext) -> Reply {
        let (code, status) = classify(failure, at: Place(request, context))
        var fields: HTTPFields = [.dockerDistributionAPIVersion: "registry/2.0"]
        if code == .unauthorized { fields[.wwwAuthenticate] = challenge(request, context) }
        if let seconds = failure.retryAfterSeconds { fields[.retryAfter] = String(seconds) }
        return .json(body(code, failure.reason, detail(failure.subject)), status, fields)
    }

    /// A chunk that does not begin where the upload ends: the client goes on from `Range`.
    static func misplaced(_ progress: HTTPFields) -> Reply {
        .json(body(.blobUploadInvalid, "the chunk does not begin where the upload ends", nil), .rangeNotSatisfiable, progress)
    }

    /// What the request was about.
    private enum Place {
        case manifest, newManifest, blob, upload, other

        init(_ request: RequestHead, _ context: ErrorContext) {
            let match = context.match
            if match?["reference"].isEmpty == false {
                self = request.method == .put ? .newManifest : .manifest
            } else if match?["digest"].isEmpty == false {
                self = .blob
            } else if match != nil, request.path.segments.suffix(2).contains("uploads") {
                self = .upload
            } else {
                self = .other
            }
        }
    }

    private static func classify(_ failure: RegistryError, at place: Place) -> (Code, HTTPResponse.Status) {
        let status = HTTPResponse.Status(code: failure.code.status)
        switch failure.code {
        case .notFound, .gone: return missing(failure.subject, at: place)
        case .invalid:
            // A virtual repository takes no writes: to these clients that is an operation it does not have.
            if case .repository = failure.subject { return (.unsupported, .methodNotAllowed) }
            return (invalid(failure.subject, at: place), status)
        case .digestMismatch: return (.digestInvalid, status)
        case .tooLarge: return (.sizeInvalid, status)
        case .rangeUnsatisfiable: return (.blobUploadInvalid, status)
        case .unauthenticated: return (.unauthorized, status)
        case .forbidden, .blocked: return (.denied, status)
        case .conflict, .immutable:
            if case .upload = failure.subject { return (.blobUploadInvalid, status) }
            return (.denied, status)
        case .unsupported: return (.unsupported, status)
        case .rateLimited: return (.tooManyRequests, status)
        case .noSpace, .unavailable, .pending: return (.unavailable, status)
        case .upstreamFailed, .corrupt, .internal: return (.unknown, status)
        }
    }

    private static func missing(_ subject: RegistryError.Subject, at place: Place) -> (Code, HTTPResponse.Status) {
        switch (subject, place) {
        case (.repository, _): (.nameUnknown, .notFound)
        case (.upload, _), (_, .upload): (.blobUploadUnknown, .notFound)
        // The manifest names what is not there: the request is wrong, its URL is not.
        case (_, .newManifest): (.manifestBlobUnknown, .badRequest)
        case (_, .manifest): (.manifestUnknown, .notFound)
        case (_, .blob): (.blobUnknown, .notFound)
        case (_, .other): (.nameUnknown, .notFound)
        }
    }

    private static func invalid(_ subject: RegistryError.Subject, at place: Place) -> Code {
        switch (subject, place) {
        case (.package, _): .nameInvalid
        case (.blob, _): .digestInvalid
        case (.field("size"), _): .sizeInvalid
        case (_, .newManifest): .manifestInvalid
        case (_, .upload): .blobUploadInvalid
        default: .unsupported
        }
    }

    /// `/v2/token` itself is reached by a password, everything else by the token it gives.
    private static func challenge(_ request: RequestHead, _ context: ErrorContext) -> String {
        guard let repository = context.repository else {
            switch request.path.segments.last {
            case "token": return "Basic realm=\"\(OCIFrontend.service)\""
            case "_catalog": return bearer(context, scope: OCIFrontend.catalogScope)
            default: return bearer(context, scope: nil)
            }
        }
        let image = context.match?["image"] ?? ""
        let actions: String =
            switch context.needs {
            case nil, .read: "pull"
            case .write: "pull,push"
            case .delete: "pull,delete"
            case .admin: "*"
            }
        // A field value: nothing of the path but what a name may have.
        let name = ([repository] + (ImageName(image) == nil ? [] : [image])).joined(separator: "/")
        return bearer(context, scope: RepositoryKey(repository) == nil ? nil : "repository:\(name):\(actions)")
    }

    private static func bearer(_ context: ErrorContext, scope: String?) -> String {
        "Bearer realm=\"\(context.baseURL)/v2/token\",service=\"\(OCIFrontend.service)\"" + (scope.map { ",scope=\"\($0)\"" } ?? "")
    }

    private static func detail(_ subject: RegistryError.Subject) -> JSON? {
        switch subject {
        case .path(let path): ["digest": .string(String(path.split(separator: "/").last ?? ""))]
        case .blob(let digest): ["digest": .string(digest)]
        case .package(let name), .repository(let name): ["name": .string(name)]
        default: nil
        }
    }

    private static func body(_ code: Code, _ message: String, _ detail: JSON?) -> [UInt8] {
        let error = JSON.object(present: ["code": .string(code.rawValue), "message": .string(message), "detail": detail])
        let document: JSON = ["errors": [error]]
        return document.encoded()
    }
}
