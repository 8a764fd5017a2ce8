/// What a virtual repository takes whole from the first of its members that has it.
public enum MergeUnit: Sendable {
    /// A package with all its versions: members never add to each other's packages.
    case package
    /// One version with its manifest and files: members add versions to a package (npm, Debian, Maven).
    case version
    /// One file: several members may hold files of one version (wheels for different platforms).
    case asset
}
