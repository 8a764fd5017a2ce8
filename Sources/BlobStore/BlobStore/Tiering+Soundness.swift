import Core
import Logging
import OrderedStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

// What was found damaged, short or missing in the tier. What can be read of it still is; it is no copy, so the disk's does not leave; and while there
// is one on the disk, that is checked and copied again.

extension Tiering {
    /// Durable, so that a restart does not take it for a copy.
    func noteUnsound(_ name: Name) async throws(RegistryError) {
        let length: Int64? = state.withLock { state in
            guard state.isSound(name) else { return nil }
            state.unsound.insert(name)
            return state.present[name]
        }
        guard let length else { return }
        log.error("what the tier has is damaged", metadata: ["file": "\(TierName(name))", "tier": "\(tier.place)"])
        try await writeRow(name, .unsound, length: length)
    }

    /// It was read again, and is whole.
    func noteSound(_ name: Name) async throws(RegistryError) {
        guard let length = state.withLock({ $0.unsound.contains(name) ? $0.present[name] : nil }) else { return }
        try await writeRow(name, .present, length: length)
        state.withLock { _ = $0.unsound.remove(name) }
        log.notice("what the tier has is whole again", metadata: ["file": "\(TierName(name))"])
    }

    /// Puts the disk's copy, once that has been checked, in place of what is damaged in the tier.
    /// - Returns: whether the tier has it whole now.
    func mend(_ name: Name) async throws(RegistryError) -> Bool {
        await claimInTurn(name)
        defer { release(name) }
        guard state.withLock({ $0.present[name] != nil && !$0.refused.contains(name) }) else { return false }
        let path = path(name)
        guard try await pool.run({ () throws(RegistryError) in try Disk.openExisting(path) != nil }) else { return false }
        try await copyClaimed(name)
        let isSound = state.withLock { $0.isSound(name) }
        if isSound { log.notice("what was damaged in the tier was copied there again", metadata: ["file": "\(TierName(name))"]) }
        return isSound
    }

    /// Puts the tier's copy, once that has been checked, in place of a file that is damaged on the disk. Who reads the old one keeps it.
    /// - Returns: whether the disk has it whole now.
    func replace(_ name: Name) async throws(RegistryError) -> Bool {
        await claimInTurn(name)
        defer { release(name) }
        let length = state.withLock { state in state.isSound(name) && state.local[name] != nil ? state.present[name] : nil }
        guard let length else { return false }
        let (temporary, path) = ("\(directory)/uploads/\(world.newID()).tmp", path(name))
        let file = try await pool.run { () throws(RegistryError) in try Disk.open(temporary, O_RDWR | O_CREAT | O_EXCL) }
        do throws(RegistryError) {
            try await fetchChecked(name, length, into: file)
            try await pool.run { [openFiles] () throws(RegistryError) in
                try Disk.synchronize(file)
                try Disk.move(temporary, over: path)
                try Disk.synchronizeDirectory(String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
                openFiles.forget(name)
            }
        } catch {
            try? Disk.remove(temporary)
            if error.code == .corrupt { try await noteUnsound(name) }
            throw error
        }
        state.withLock { _ = $0.refused.remove(name) }
        log.notice("a damaged file came back from the tier", metadata: ["file": "\(TierName(name))"])
        return true
    }

    /// Files known to be damaged in the tier, by the names of their objects.
    var unsoundFiles: [String] { state.withLock { $0.unsound.map { "\(TierName($0))" } }.sorted() }
}

extension BlobStore {
    /// A blob in chunks is damaged on the disk: the segments with its recipe or with chunks of it that cannot be read come anew from the tier.
    /// - Returns: whether it is whole again.
    func healChunks(_ id: BlobID, at location: BlobLocation) async -> Bool {
        guard let tiering, let place = location.record else { return false }
        do throws(RegistryError) {
            // First the recipe, without which the chunks are not known.
            for isRecipeDone in [false, true] {
                let damaged = try await pool.run { [self] () throws(RegistryError) in
                    if isRecipeDone { return try damagedChunkSegments(of: id, at: place) }
                    return try isReadable(recipe: id, at: place) ? [] : [place.segment]
                }
                for number in damaged {
                    guard try await tiering.replace(.segment(number)) else { return false }
                }
            }
            recipes.forget(id)
            chunkCache.removeAll()
            try await pool.run { [self] () throws(RegistryError) in try verifyChunks(id, at: location, isOnDiskOnly: true) }
            counters.blobHealed()
            log.notice("a damaged blob was healed", metadata: ["blob": "\(id)"])
            return true
        } catch {
            log.warning("a damaged blob could not be healed", metadata: ["blob": "\(id)", "error": "\(error)"])
            return false
        }
    }

    private func isReadable(recipe id: BlobID, at place: BlobLocation.RecordPlace) throws(RegistryError) -> Bool {
        do throws(RegistryError) { _ = try readRecipe(id, at: place) } catch {
            guard error.code == .corrupt else { throw error }
            return false
        }
        return true
    }

    private func damagedChunkSegments(of id: BlobID, at place: BlobLocation.RecordPlace) throws(RegistryError) -> Set<UInt64> {
        let recipe = try readRecipe(id, at: place)
        var damaged: Set<UInt64> = []
        for index in 0..<recipe.count {
            let chunk = recipe[index].chunk
            guard let row = try self.index.get(ChunkIndex.key(ofChunk: chunk), in: .chunks) else { continue }
            let segment = try ChunkIndex.place(row).segment
            guard !damaged.contains(segment), try !isAway(segment: segment) else { continue }
            do throws(RegistryError) { _ = try readStoredChunk(chunk) } catch {
                guard error.code == .corrupt else { throw error }
                damaged.insert(segment)
            }
        }
        return damaged
    }
}
