package import Catalog
package import Core

// The value of a row of the log (docs/internals/log.md). Its revision is the key.
extension BinaryWriter {
    mutating func write(_ value: LogEntry) {
        write(value.actor.name)
        write(value.actor.account) { $0.write($1) }
        write(value.at)
        write(value.requestID)
        write(each: value.touched) { $0.write($1) }
    }

    private mutating func write(_ value: LogEntry.Touched) {
        switch value {
        case .repository(let id):
            write(UInt8(1))
            write(id)
        case .package(let id, let package):
            write(UInt8(2))
            write(id)
            write(package.text)
        case .asset(let id, let path, let blob, let deltaBytes):
            write(UInt8(3))
            write(id)
            write(path.text)
            write(blob) { $0.write($1) }
            write(deltaBytes)
        case .tag(let id, let package, let tag):
            write(UInt8(4))
            write(id)
            write(package.text)
            write(tag.text)
        case .record(let kind, let id):
            write(UInt8(5))
            write(kind.rawValue)
            write(id)
        case .verdict(let blob):
            write(UInt8(6))
            write(blob)
        case .learned(let id, let view):
            write(UInt8(7))
            write(id)
            write(view)
        case .trash(let id):
            write(UInt8(8))
            write(id.repository)
            write(id.revision)
        }
    }
}

extension BinaryReader {
    package mutating func readLogEntry(_ revision: Revision) throws(RegistryError) -> LogEntry {
        let name = try readString()
        let account = try readOptional { reader throws(RegistryError) in try reader.readEntityID() }
        return LogEntry(
            revision: revision, actor: Actor(name: name, account: account), at: try readTimestamp(), requestID: try readString(),
            touched: try readEach { reader throws(RegistryError) in try reader.readTouched() })
    }

    private mutating func readTouched() throws(RegistryError) -> LogEntry.Touched {
        switch try readUInt8() {
        case 1: .repository(try readEntityID())
        case 2: .package(try readEntityID(), try readPackageName())
        case 3:
            .asset(
                try readEntityID(), try readAssetPath(), try readOptional { reader throws(RegistryError) in try reader.readBlobID() },
                deltaBytes: try readInt64())
        case 4: .tag(try readEntityID(), try readPackageName(), try readTagName())
        case 5: .record(try BinaryReader.checked(Record.Kind(rawValue: try readUInt8())), try readString())
        case 6: .verdict(try readBlobID())
        case 7: .learned(try readEntityID(), view: try readString())
        case 8: .trash(DeletionID(try readEntityID(), try readRevision()))
        default: throw BinaryReader.damaged
        }
    }
}
