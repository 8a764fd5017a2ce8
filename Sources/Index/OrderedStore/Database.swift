import CRocksDB
import Core

#if canImport(Glibc)
    import Glibc
#endif

/// One open RocksDB: the only file that calls its C API.
///
/// `@unchecked Sendable`: every stored property is set once in `init`; RocksDB allows reads, writes and property calls from any thread.
/// Handles die in `deinit`, when the last reader has let go.
final class Database: @unchecked Sendable {
    private let handle: OpaquePointer
    private let families: [String: OpaquePointer]
    private let options: OpaquePointer
    private let cache: OpaquePointer
    private let plainReads: OpaquePointer
    private let cachedReads: OpaquePointer
    private let syncedWrites: OpaquePointer
    /// Held by who only reads, since RocksDB then takes none.
    private let lock: OpenFile?

    init(at path: String, families wanted: [OrderedStore.Family], options limits: OrderedStore.Options) throws(RegistryError) {
        lock = try limits.isReadOnly ? Database.lock(path) : nil
        // Four shards: by default there are 64, and no block larger than a shard is ever kept.
        let shape: OpaquePointer = unsafe rocksdb_lru_cache_options_create()
        defer { unsafe rocksdb_lru_cache_options_destroy(shape) }
        unsafe rocksdb_lru_cache_options_set_capacity(shape, limits.blockCacheBytes)
        unsafe rocksdb_lru_cache_options_set_num_shard_bits(shape, 2)
        cache = unsafe rocksdb_cache_create_lru_opts(shape)
        options = unsafe Database.makeOptions(limits, cache: cache)
        let names = unsafe Database.familyNames(at: path, options: options, wanted: wanted.map(\.name))
        do throws(RegistryError) {
            try Database.checkManifest(at: path)
            (handle, families) = try unsafe Database.open(path, names, options, isReadOnly: limits.isReadOnly)
        } catch {
            unsafe rocksdb_options_destroy(options)
            unsafe rocksdb_cache_destroy(cache)
            throw error
        }
        plainReads = unsafe rocksdb_readoptions_create()
        cachedReads = unsafe rocksdb_readoptions_create()
        unsafe rocksdb_readoptions_set_read_tier(cachedReads, 1)  // kBlockCacheTier
        syncedWrites = unsafe rocksdb_writeoptions_create()
        unsafe rocksdb_writeoptions_set_sync(syncedWrites, 1)
    }

    deinit {
        for family in families.values { unsafe rocksdb_column_family_handle_destroy(family) }
        unsafe rocksdb_close(handle)
        unsafe rocksdb_readoptions_destroy(plainReads)
        unsafe rocksdb_readoptions_destroy(cachedReads)
        unsafe rocksdb_writeoptions_destroy(syncedWrites)
        unsafe rocksdb_options_destroy(options)
        unsafe rocksdb_cache_destroy(cache)
    }

    // MARK: Opening

    private static func makeOptions(_ limits: OrderedStore.Options, cache: OpaquePointer) -> OpaquePointer {
        let table: OpaquePointer = unsafe rocksdb_block_based_options_create()
        unsafe rocksdb_block_based_options_set_block_cache(table, cache)
        unsafe rocksdb_block_based_options_set_block_size(table, 8 << 10)
        unsafe rocksdb_block_based_options_set_format_version(table, 5)
        unsafe rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_ribbon_hybrid(10, 1))
        // Index and filter blocks count against the cache, so that memory has one bound; what guards level 0 stays.
        unsafe rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1)
        unsafe rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1)
        unsafe rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1)
        // In partitions, of which a read needs one: a whole filter of a large file is bigger than what a small cache can keep, and would be
        // read from disk for every single row.
        unsafe rocksdb_block_based_options_set_index_type(table, Int32(rocksdb_block_based_table_index_type_two_level_index_search))
        unsafe rocksdb_block_based_options_set_partition_filters(table, 1)
        unsafe rocksdb_block_based_options_set_metadata_block_size(table, 8 << 10)
        unsafe rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1)
        // The options keep a shared reference to what the table options named.
        defer { unsafe rocksdb_block_based_options_destroy(table) }

        let options: OpaquePointer = unsafe rocksdb_options_create()
        unsafe rocksdb_options_set_block_based_table_factory(options, table)
        unsafe rocksdb_options_set_create_if_missing(options, 1)
        unsafe rocksdb_options_set_create_missing_column_families(options, 1)
        unsafe rocksdb_options_set_write_buffer_size(options, limits.memtableBytes)
        unsafe rocksdb_options_set_max_write_buffer_number(options, 3)
        unsafe rocksdb_options_set_db_write_buffer_size(options, limits.memtablesBytesMax)
        unsafe rocksdb_options_set_max_total_wal_size(options, UInt64(limits.logBytesMax))
        unsafe rocksdb_options_set_max_open_files(options, limits.openFilesMax)
        unsafe rocksdb_options_set_max_background_jobs(options, 2)
        unsafe rocksdb_options_set_compression(options, 4)  // LZ4
        unsafe rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1)
        unsafe rocksdb_options_set_keep_log_file_num(options, 2)
        unsafe rocksdb_options_set_max_log_file_size(options, 1 << 20)
        // Nothing at all, beyond the last level there is: RocksDB as Debian builds it ends the process when its log is written to after the disk
        // was full once. What it has to say comes with the errors.
        unsafe rocksdb_options_set_info_log_level(options, 6)
        return filteringMemtables(options)
    }

    /// Most rows a change asks for are new names, which are not there: the tables on disk have filters for that, and so have those in memory with
    /// this, which the C interface has only as text. It is speed alone, so that a RocksDB that does not know it does without.
    private static func filteringMemtables(_ options: OpaquePointer) -> OpaquePointer {
        let filtering: OpaquePointer = unsafe rocksdb_options_create()
        var failure: UnsafeMutablePointer<CChar>?
        let text = "memtable_whole_key_filtering=true;memtable_prefix_bloom_size_ratio=0.02"
        unsafe rocksdb_get_options_from_string(options, text, filtering, &failure)
        let unwanted = unsafe failure == nil ? options : filtering
        unsafe rocksdb_options_destroy(unwanted)
        if let failure = unsafe failure {
            unsafe rocksdb_free(failure)
            return options
        }
        return filtering
    }

    /// Opening must name every family that exists, wanted or not.
    private static func familyNames(at path: String, options: OpaquePointer, wanted: [String]) -> [String] {
        var count = 0
        var failure: UnsafeMutablePointer<CChar>?
        let list = unsafe rocksdb_list_column_families(options, path, &count, &failure)
        var names = ["default"]
        if let failure = unsafe failure {
            // A directory without a store has none; any other trouble comes up again when it is opened.
            unsafe rocksdb_free(failure)
        } else if let list = unsafe list {
            for index in 0..<count {
                if let name = unsafe list[index] { names.append(unsafe String(cString: name)) }
            }
            unsafe rocksdb_list_column_families_destroy(list, count)
        }
        var seen: Set<String> = []
        return (names + wanted).filter { seen.insert($0).inserted }
    }

    // MARK: Damage

    /// Of the files that RocksDB begins with it believes the end, whatever it looks like, and without the first of them it begins anew.
    private static func checkManifest(at path: String) throws(RegistryError) {
        let names = LogFile.names(in: path)
        guard names.contains("CURRENT") else {
            // A store that was being made when the power failed has neither.
            guard let left = names.first(where: { $0.hasSuffix(".sst") || $0.hasSuffix(".log") }) else { return }
            throw damaged("its file CURRENT is missing, but there is \(left)", at: path)
        }
        let current = String(decoding: try LogFile.read(path + "/CURRENT"), as: UTF8.self)
        guard current.hasPrefix("MANIFEST-"), current.hasSuffix("\n"), names.contains(String(current.dropLast())) else {
            throw damaged("its file CURRENT names no file that is there", at: path)
        }
        let manifest = String(current.dropLast())
        // Who opens a store to write gives it a log, and a lock, before the first manifest is replaced. A copy made by `checkpoint` has neither.
        if names.contains("LOCK"), manifest != "MANIFEST-000001", !names.contains(where: { $0.hasSuffix(".log") }) {
            throw damaged("its log of changes is missing", at: path)
        }
        if case .damaged(let at) = try LogFile.state(ofFile: "\(path)/\(manifest)") { throw damaged("byte \(at) of \(manifest)", at: path) }
    }

    /// Damage in the log of changes, as distinct from an end that a crash left unfinished.
    private static func checkLogs(at path: String) throws(RegistryError) {
        for name in LogFile.names(in: path) where name.hasSuffix(".log") {
            if case .damaged(let at) = try LogFile.state(ofFile: "\(path)/\(name)") {
                throw damaged("\(name) from byte \(at) on: changes that were acknowledged cannot be read", at: path)
            }
        }
    }

    private static func damaged(_ what: String, at path: String) -> RegistryError {
        RegistryError(
            .corrupt, subject: .store, reason: "the index is damaged and was not opened; restore \(path), or that file, from a backup", cause: what)
    }

    /// A log that does not read to its end is opened only if a crash explains that.
    private static func open(
        _ path: String, _ names: [String], _ options: OpaquePointer, isReadOnly: Bool
    ) throws(RegistryError) -> (
        OpaquePointer, [String: OpaquePointer]
    ) {
        unsafe rocksdb_options_set_wal_recovery_mode(options, Int32(rocksdb_absolute_consistency_recovery))
        do throws(RegistryError) { return try unsafe openOnce(path, names, options, isReadOnly: isReadOnly) } catch {
            guard error.code == .corrupt else { throw error }
            try checkLogs(at: path)
        }
        unsafe rocksdb_options_set_wal_recovery_mode(options, Int32(rocksdb_point_in_time_recovery))
        do throws(RegistryError) { return try unsafe openOnce(path, names, options, isReadOnly: isReadOnly) } catch {
            guard error.code == .corrupt else { throw error }
            throw damaged(error.cause ?? error.reason, at: path)
        }
    }

    private static func openOnce(
        _ path: String, _ names: [String], _ options: OpaquePointer, isReadOnly: Bool
    ) throws(RegistryError) -> (
        OpaquePointer, [String: OpaquePointer]
    ) {
        let copies = unsafe names.map { unsafe strdup($0) }
        defer { for copy in unsafe copies { unsafe free(copy) } }
        let pointers = unsafe copies.map { unsafe UnsafePointer<CChar>($0) }
        let familyOptions = [OpaquePointer?](repeating: options, count: names.count)
        var handles = [OpaquePointer?](repeating: nil, count: names.count)
        var failure: UnsafeMutablePointer<CChar>?
        let opened: OpaquePointer? =
            if isReadOnly {
                unsafe rocksdb_open_for_read_only_column_families(
                    options, path, Int32(names.count), pointers, familyOptions, &handles, 0, &failure)
            } else {
                unsafe rocksdb_open_column_families(options, path, Int32(names.count), pointers, familyOptions, &handles, &failure)
            }
        if let failure = unsafe failure {
            let text = unsafe take(failure)
            if text.contains("While lock file") || text.contains("lock hold by") {
                throw inUse(text)
            }
            throw error(text, while: "opening the store")
        }
        guard let opened else { throw RegistryError(.unavailable, subject: .store, reason: "the store did not open") }
        var families: [String: OpaquePointer] = [:]
        for (name, handle) in zip(names, handles) { families[name] = handle }
        return (opened, families)
    }

    private static func inUse(_ cause: String) -> RegistryError {
        RegistryError(.unavailable, subject: .store, reason: "the data directory is in use by another process; stop it first", cause: cause)
    }

    /// The lock that who writes takes. A store that nobody opened since it was restored has no file for it, and nobody to keep out.
    private static func lock(_ path: String) throws(RegistryError) -> OpenFile? {
        guard access(path + "/CURRENT", F_OK) == 0 else {
            throw RegistryError(.notFound, subject: .store, reason: "there is no store in this directory")
        }
        let descriptor = Glibc.open(path + "/LOCK", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw error("open LOCK: errno \(errno)", while: "locking the store") }
            return nil
        }
        let file = OpenFile(owning: descriptor)
        var range = flock()
        range.l_type = Int16(F_WRLCK)
        range.l_whence = Int16(SEEK_SET)
        guard unsafe fcntl(descriptor, F_SETLK, &range) == 0 else { throw inUse("fcntl F_SETLK: errno \(errno)") }
        return file
    }

    // MARK: Reading

    func get(_ key: [UInt8], in family: OrderedStore.Family, at snapshot: OpaquePointer?) throws(RegistryError) -> [UInt8]? {
        guard let snapshot else { return try pinned(key, family, plainReads).get() }
        let reads: OpaquePointer = unsafe rocksdb_readoptions_create()
        defer { unsafe rocksdb_readoptions_destroy(reads) }
        unsafe rocksdb_readoptions_set_snapshot(reads, snapshot)
        return try pinned(key, family, reads).get()
    }

    func getCached(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> CachedRow {
        switch pinned(key, family, cachedReads) {
        case .success(let value?): return .found(value)
        case .success(nil): return .absent
        case .failure(let error):
            if error.cause?.hasPrefix("Result incomplete") == true { return .unknown }
            throw error
        }
    }

    private func pinned(_ key: [UInt8], _ family: OrderedStore.Family, _ reads: OpaquePointer) -> Result<[UInt8]?, RegistryError> {
        var failure: UnsafeMutablePointer<CChar>?
        let slice = key.withUnsafeBytes { key in
            unsafe rocksdb_get_pinned_cf(handle, reads, columns(family), key.baseAddress?.assumingMemoryBound(to: CChar.self), key.count, &failure)
        }
        if let failure = unsafe failure { return .failure(Database.error(unsafe Database.take(failure), while: "reading a row")) }
        guard let slice else { return .success(nil) }
        defer { unsafe rocksdb_pinnableslice_destroy(slice) }
        var count = 0
        let value = unsafe rocksdb_pinnableslice_value(slice, &count)
        return .success(unsafe Database.bytes(value, count))
    }

    func scan(
        _ family: OrderedStore.Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool, at snapshot: OpaquePointer?,
        _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
    ) throws(RegistryError) {
        let reads: OpaquePointer = unsafe rocksdb_readoptions_create()
        // RocksDB borrows the bounds: they live until the iterator is gone, which `defer` runs before.
        let lower = Bound(from)
        let upper = upTo.map { Bound($0) }
        defer {
            unsafe rocksdb_readoptions_destroy(reads)
            lower.free()
            upper?.free()
        }
        unsafe rocksdb_readoptions_set_iterate_lower_bound(reads, lower.start, lower.count)
        if let upper = upper { unsafe rocksdb_readoptions_set_iterate_upper_bound(reads, upper.start, upper.count) }
        if let snapshot { unsafe rocksdb_readoptions_set_snapshot(reads, snapshot) }
        let iterator: OpaquePointer = unsafe rocksdb_create_iterator_cf(handle, reads, columns(family))
        defer { unsafe rocksdb_iter_destroy(iterator) }

        if !reverse {
            unsafe rocksdb_iter_seek(iterator, lower.start, lower.count)
        } else if let upper = upper {
            unsafe rocksdb_iter_seek_for_prev(iterator, upper.start, upper.count)
        } else {
            unsafe rocksdb_iter_seek_to_last(iterator)
        }
        while unsafe rocksdb_iter_valid(iterator) != 0 {
            var keyCount = 0
            var valueCount = 0
            let key = unsafe Database.bytes(rocksdb_iter_key(iterator, &keyCount), keyCount)
            let value = unsafe Database.bytes(rocksdb_iter_value(iterator, &valueCount), valueCount)
            guard try body(key, value) else { return }
            if reverse { unsafe rocksdb_iter_prev(iterator) } else { unsafe rocksdb_iter_next(iterator) }
        }
        try Database.check(iterator)
    }

    /// Every row of every family, and with it the checksum of every block that rows are in.
    func readAll() throws(RegistryError) {
        for name in families.keys.sorted() {
            let iterator: OpaquePointer = unsafe rocksdb_create_iterator_cf(handle, plainReads, columns(OrderedStore.Family(name)))
            defer { unsafe rocksdb_iter_destroy(iterator) }
            unsafe rocksdb_iter_seek_to_first(iterator)
            while unsafe rocksdb_iter_valid(iterator) != 0 { unsafe rocksdb_iter_next(iterator) }
            try Database.check(iterator)
        }
    }

    /// What ended an iterator, if it was not the last row.
    private static func check(_ iterator: OpaquePointer) throws(RegistryError) {
        var failure: UnsafeMutablePointer<CChar>?
        unsafe rocksdb_iter_get_error(iterator, &failure)
        if let failure = unsafe failure { throw Database.error(unsafe Database.take(failure), while: "reading rows") }
    }

    func takeSnapshot() -> OpaquePointer { unsafe rocksdb_create_snapshot(handle) }
    func release(_ snapshot: OpaquePointer) { unsafe rocksdb_release_snapshot(handle, snapshot) }

    // MARK: Writing

    /// Everything in the overlay, whole or not at all, durable when this returns.
    func write(_ overlay: Overlay) throws(RegistryError) {
        let batch: OpaquePointer = unsafe rocksdb_writebatch_create()
        defer { unsafe rocksdb_writebatch_destroy(batch) }
        for range in overlay.cleared {
            range.from.withUnsafeBytes { from in
                range.upTo.withUnsafeBytes { upTo in
                    unsafe rocksdb_writebatch_delete_range_cf(
                        batch, columns(range.family), from.baseAddress?.assumingMemoryBound(to: CChar.self), from.count,
                        upTo.baseAddress?.assumingMemoryBound(to: CChar.self), upTo.count)
                }
            }
        }
        for (family, rows) in overlay.rows {
            let columns = unsafe columns(family)
            for row in rows {
                row.key.withUnsafeBytes { key in
                    let start = unsafe key.baseAddress?.assumingMemoryBound(to: CChar.self)
                    guard let value = row.value else { return unsafe rocksdb_writebatch_delete_cf(batch, columns, start, key.count) }
                    value.withUnsafeBytes { value in
                        unsafe rocksdb_writebatch_put_cf(
                            batch, columns, start, key.count, value.baseAddress?.assumingMemoryBound(to: CChar.self), value.count)
                    }
                }
            }
        }
        var failure: UnsafeMutablePointer<CChar>?
        unsafe rocksdb_write(handle, syncedWrites, batch, &failure)
        if let failure = unsafe failure { throw Database.error(unsafe Database.take(failure), while: "committing") }
    }

    func checkpoint(at path: String) throws(RegistryError) {
        var failure: UnsafeMutablePointer<CChar>?
        let checkpoint: OpaquePointer? = unsafe rocksdb_checkpoint_object_create(handle, &failure)
        if let failure = unsafe failure { throw Database.error(unsafe Database.take(failure), while: "making a checkpoint") }
        guard let checkpoint else { throw RegistryError(.unavailable, subject: .store, reason: "making a checkpoint failed") }
        defer { unsafe rocksdb_checkpoint_object_destroy(checkpoint) }
        // Memtables are flushed first, so that the copy has no log to replay.
        unsafe rocksdb_checkpoint_create(checkpoint, path, 0, &failure)
        if let failure = unsafe failure { throw Database.error(unsafe Database.take(failure), while: "making a checkpoint") }
    }

    /// Sum over the families of an integer property.
    func property(_ name: String) -> UInt64 {
        families.values.reduce(0) { sum, family in
            var value: UInt64 = 0
            return unsafe rocksdb_property_int_cf(handle, family, name, &value) == 0 ? sum &+ value : sum
        }
    }

    /// Whether more than the reserve is free there. True when nobody can tell: then the write itself finds out.
    static func hasRoom(at path: String, reserve: FreeSpace) -> Bool {
        guard let free = FreeSpace(at: path) else { return true }
        return free.bytes >= reserve.bytes && (free.files ?? .max) >= (reserve.files ?? 0)
    }

    // MARK: Translation

    private func columns(_ family: OrderedStore.Family) -> OpaquePointer {
        guard let columns = families[family.name] else { preconditionFailure("family \(family.name) was not named when the store was opened") }
        return columns
    }

    private struct Bound {
        let start: UnsafeMutablePointer<CChar>
        let count: Int
        init(_ bytes: [UInt8]) {
            count = bytes.count
            unsafe start = .allocate(capacity: max(1, bytes.count))
            for (index, byte) in bytes.enumerated() { unsafe start[index] = CChar(bitPattern: byte) }
        }
        func free() { unsafe start.deallocate() }
    }

    // Not inlined: where the copy is then not used, the optimizer of Swift 6.3 releases the array before it copies, which writes to freed memory.
    @inline(never)
    private static func bytes(_ start: UnsafePointer<CChar>?, _ count: Int) -> [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
    }

    private static func take(_ failure: UnsafeMutablePointer<CChar>) -> String {
        defer { unsafe rocksdb_free(failure) }
        return unsafe String(cString: failure)
    }

    private static func error(_ text: String, while action: String) -> RegistryError {
        if text.hasPrefix("Corruption") {
            return RegistryError(.corrupt, subject: .store, reason: "\(action) found damage", cause: text)
        }
        if text.contains("No space left") {
            return RegistryError(.noSpace, subject: .store, reason: "the disk is full", cause: text)
        }
        return RegistryError(.unavailable, subject: .store, reason: "\(action) failed", cause: text)
    }
}

extension Database: OrderedRows, CommitTarget {
    func get(_ key: [UInt8], in family: OrderedStore.Family) throws(RegistryError) -> [UInt8]? { try get(key, in: family, at: nil) }

    func scan(
        _ family: OrderedStore.Family, from: [UInt8], upTo: [UInt8]?, reverse: Bool,
        _ body: (_ key: [UInt8], _ value: [UInt8]) throws(RegistryError) -> Bool
    ) throws(RegistryError) {
        try scan(family, from: from, upTo: upTo, reverse: reverse, at: nil, body)
    }

    func begin(reading: [RowName]) throws(RegistryError) -> any OrderedRows { self }
    func abandon() {}
    /// RocksDB takes no write after one that failed.
    var recovers: Bool { false }
}
