/// The limits of a repository whose assets may be lost, as settings; what the request does not say stays as it is, zero lifts a limit.
func cacheSettings(bytesMax: Int64?, idleSeconds: Int64?, entryBytesMax: Int64?, overwrite: String?) -> [String: String] {
    var settings: [String: String] = [:]
    for (name, value) in [("cache_bytes_max", bytesMax), ("cache_idle_seconds", idleSeconds), ("cache_entry_bytes_max", entryBytesMax)] {
        if let value { settings[name] = value == 0 ? "" : String(value) }
    }
    if let overwrite { settings["cache_overwrite"] = overwrite }
    return settings
}
