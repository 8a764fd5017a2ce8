import CRnp
import Core

/// One use of librnp: a context of its own with the keys that the use needs. Not for two threads at once, and short.
final class RnpSession {
    enum Form { case cleartext, detached }

    private var context: rnp_ffi_t?

    init() throws(RegistryError) {
        try RnpSession.check(rnp_ffi_create(&context, "GPG", "GPG"), "rnp_ffi_create")
    }

    deinit { rnp_ffi_destroy(context) }

    /// What the library takes for the present: keys are made then, and their validity is judged by it.
    func setTime(_ now: Timestamp) throws(RegistryError) {
        try RnpSession.check(rnp_set_timestamp(context, UInt64(max(0, now.seconds))), "rnp_set_timestamp")
    }

    func generate(for userID: String) throws(RegistryError) -> (secret: [UInt8], fingerprint: String) {
        var operation: rnp_op_generate_t?
        try RnpSession.check(rnp_op_generate_create(&operation, context, "EDDSA"), "rnp_op_generate_create")
        defer { rnp_op_generate_destroy(operation) }
        try RnpSession.check(rnp_op_generate_set_hash(operation, "SHA512"), "rnp_op_generate_set_hash")
        try RnpSession.check(rnp_op_generate_set_userid(operation, userID), "rnp_op_generate_set_userid")
        try RnpSession.check(rnp_op_generate_set_expiration(operation, 0), "rnp_op_generate_set_expiration")
        for usage in ["sign", "certify"] { try RnpSession.check(rnp_op_generate_add_usage(operation, usage), "rnp_op_generate_add_usage") }
        try RnpSession.check(rnp_op_generate_execute(operation), "rnp_op_generate_execute")
        var key: rnp_key_handle_t?
        try RnpSession.check(rnp_op_generate_get_key(operation, &key), "rnp_op_generate_get_key")
        defer { rnp_key_handle_destroy(key) }
        let secret = try output { rnp_key_export(key, $0, UInt32(RNP_KEY_EXPORT_SECRET)) }
        var text: UnsafeMutablePointer<CChar>?
        try RnpSession.check(rnp_key_get_fprint(key, &text), "rnp_key_get_fprint")
        guard let text else { throw RnpSession.failure("rnp_key_get_fprint", 0) }
        defer { rnp_buffer_destroy(text) }
        return (secret, String(cString: text))
    }

    func sign(_ bytes: [UInt8], by keys: [OpenPGPKey], at now: Timestamp, _ form: Form) throws(RegistryError) -> [UInt8] {
        precondition(!keys.isEmpty, "a signature needs a key")
        try setTime(now)
        let handles = try load(keys)
        defer { for handle in handles { rnp_key_handle_destroy(handle) } }
        return try input(bytes) { input throws(RegistryError) in
            RnpSession.plain(
                try self.output { output in
                    var operation: rnp_op_sign_t?
                    let made =
                        switch form {
                        case .cleartext: rnp_op_sign_cleartext_create(&operation, self.context, input, output)
                        case .detached: rnp_op_sign_detached_create(&operation, self.context, input, output)
                        }
                    guard made == RNP_SUCCESS else { return made }
                    defer { rnp_op_sign_destroy(operation) }
                    var steps = [rnp_op_sign_set_hash(operation, "SHA512"), rnp_op_sign_set_creation_time(operation, UInt32(clamping: now.seconds))]
                    if form == .detached { steps.append(rnp_op_sign_set_armor(operation, true)) }
                    steps += handles.map { rnp_op_sign_add_signature(operation, $0, nil) }
                    return steps.first { $0 != RNP_SUCCESS } ?? rnp_op_sign_execute(operation)
                })
        }
    }

    func publicKeys(of keys: [OpenPGPKey]) throws(RegistryError) -> [UInt8] {
        let handles = try load(keys)
        defer { for handle in handles { rnp_key_handle_destroy(handle) } }
        return RnpSession.plain(
            try output { plain in
                var armoured: rnp_output_t?
                let made = rnp_output_to_armor(plain, &armoured, "public key")
                guard made == RNP_SUCCESS else { return made }
                let exported = handles.lazy.map { rnp_key_export($0, armoured, UInt32(RNP_KEY_EXPORT_PUBLIC)) }.first { $0 != RNP_SUCCESS }
                // The armour's end is written when its output is destroyed.
                let closed = rnp_output_destroy(armoured)
                return exported ?? closed
            })
    }

    /// Handles of the keys, in order; the caller destroys them.
    private func load(_ keys: [OpenPGPKey]) throws(RegistryError) -> [rnp_key_handle_t?] {
        var handles: [rnp_key_handle_t?] = []
        for key in keys {
            try input(key.secret) { input throws(RegistryError) in
                try RnpSession.check(
                    rnp_load_keys(self.context, "GPG", input, UInt32(RNP_LOAD_SAVE_PUBLIC_KEYS) | UInt32(RNP_LOAD_SAVE_SECRET_KEYS)), "rnp_load_keys")
            }
            var handle: rnp_key_handle_t?
            let code = rnp_locate_key(context, "fingerprint", key.fingerprint, &handle)
            guard code == RNP_SUCCESS, handle != nil else {
                for handle in handles { rnp_key_handle_destroy(handle) }
                throw RnpSession.failure("rnp_locate_key", code)
            }
            handles.append(handle)
        }
        return handles
    }

    /// The bytes stay where they are while `body` runs.
    private func input<Result>(_ bytes: [UInt8], _ body: (rnp_input_t?) throws(RegistryError) -> Result) throws(RegistryError) -> Result {
        var input: rnp_input_t?
        // A copy: the library reads it after this call.
        let code = bytes.withUnsafeBufferPointer { rnp_input_from_memory(&input, $0.baseAddress, $0.count, true) }
        try RnpSession.check(code, "rnp_input_from_memory")
        defer { rnp_input_destroy(input) }
        return try body(input)
    }

    private func output(_ body: (rnp_output_t?) -> rnp_result_t) throws(RegistryError) -> [UInt8] {
        var output: rnp_output_t?
        try RnpSession.check(rnp_output_to_memory(&output, 0), "rnp_output_to_memory")
        defer { rnp_output_destroy(output) }
        try RnpSession.check(body(output), "librnp")
        var buffer: UnsafeMutablePointer<UInt8>?
        var count = 0
        try RnpSession.check(rnp_output_memory_get_buf(output, &buffer, &count, false), "rnp_output_memory_get_buf")
        return Array(UnsafeBufferPointer(start: buffer, count: count))
    }

    /// Armour with lines that end in LF: apt's own reader of keys takes a CR for text.
    private static func plain(_ armoured: [UInt8]) -> [UInt8] { armoured.filter { $0 != 0x0D } }

    private static func check(_ code: rnp_result_t, _ call: String) throws(RegistryError) {
        guard code == RNP_SUCCESS else { throw failure(call, code) }
    }

    private static func failure(_ call: String, _ code: rnp_result_t) -> RegistryError {
        RegistryError(
            .internal, subject: .configuration("signing key"), reason: "OpenPGP signing failed",
            cause: "\(call): \(String(cString: rnp_result_to_string(code)))")
    }
}
