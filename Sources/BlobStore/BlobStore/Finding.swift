public import Core

/// One thing a check found. The kinds are stable: scripts branch on them (docs/verification.md lists them).
public struct Finding: Sendable, Hashable {
    public enum Kind: String, Sendable, CaseIterable {
        // Damage: bytes or rows that are needed are wrong or missing.
        /// The database of names and locations cannot be read.
        case index
        /// The row that says where a blob lies does not decode.
        case locationRow = "location-row"
        /// Where a row points there is no record, or no file, of that blob.
        case blobPlace = "blob-place"
        /// The bytes of a blob are not what they were.
        case blobBytes = "blob-bytes"
        /// Something names a blob that is not stored.
        case dangling
        /// An artifact whose blob nothing keeps from the sweep.
        case unpinned
        case segmentHeader = "segment-header"
        /// A sealed segment's index or end is damaged; its records are found without it.
        case segmentIndex = "segment-index"
        /// What an open upload session has received cannot be read.
        case upload
        /// A file of the tier is damaged, short or missing there.
        case tierObject = "tier-object"
        /// A file of a backup is missing, or not what was signed.
        case backupFile = "backup-file"
        // Notes: worth knowing, nothing is lost.
        /// Between the records of a segment lies something that is none: what a crash left, or a damaged record that nothing points to.
        case segmentGap = "segment-gap"
        /// A segment ends in an unfinished record, which the next start steps over.
        case tornTail = "torn-tail"
        /// A stored blob that nothing names: the sweep's, once its time of grace is over.
        case unreferenced
        /// A file that no row names: the sweep's.
        case orphan
        /// A file that is not ours.
        case unknownFile = "unknown-file"
        /// What the tier has was not looked at, or not all of it.
        case tierUnread = "tier-unread"

        public var isDamage: Bool {
            switch self {
            case .index, .locationRow, .blobPlace, .blobBytes, .dangling, .unpinned, .segmentHeader, .segmentIndex, .upload, .tierObject,
                .backupFile:
                true
            case .segmentGap, .tornTail, .unreferenced, .orphan, .unknownFile, .tierUnread: false
            }
        }
    }

    public var kind: Kind
    public var blob: BlobID?
    /// `segment 3`, `blobs/ab/ab...`, `uploads/...`, an artifact.
    public var place: String
    public var text: String
    public init(_ kind: Kind, blob: BlobID? = nil, place: String, _ text: String) {
        self.kind = kind
        self.blob = blob
        self.place = place
        self.text = text
    }
}
