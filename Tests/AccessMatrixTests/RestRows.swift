import HTTPTypes

/// The endpoints of the REST API, in the order of their tables.
enum RestRows {
    static let all = accounts + machines + groups + projects + permissions + repositories + content + system

    private static let login = #"{"username":"nobody-here","password":"not the password"}"#
    private static let mint = #"{"name":"ci","scopes":["read:artifacts"]}"#

    private static let accounts = [
        Row(.post, "/api/v1/auth/login", .open, "/api/v1/auth/login", login),
        Row(.post, "/api/v1/auth/refresh", .open, "/api/v1/auth/refresh", #"{"refresh_token":"none"}"#),
        Row(.post, "/api/v1/auth/logout", .open, "/api/v1/auth/logout", #"{"refresh_token":"none"}"#),
        Row(.get, "/api/v1/auth/me", .account, "/api/v1/auth/me"),
        Row(.post, "/api/v1/auth/tokens", .mint, "/api/v1/auth/tokens", mint),
        Row(.delete, "/api/v1/auth/tokens/{token_id}", .account, "/api/v1/auth/tokens/{uuid}"),
        Row(.post, "/api/v1/auth/totp/verify", .open, "/api/v1/auth/totp/verify", #"{"totp_token":"none","code":"000000"}"#),
        Row(.post, "/api/v1/auth/totp/enroll/setup", .open, "/api/v1/auth/totp/enroll/setup", #"{"totp_token":"none"}"#),
        Row(.post, "/api/v1/auth/totp/enroll/complete", .open, "/api/v1/auth/totp/enroll/complete", #"{"totp_token":"none","code":"000000"}"#),
        Row(.post, "/api/v1/auth/totp/setup", .person, "/api/v1/auth/totp/setup"),
        Row(.post, "/api/v1/auth/totp/enable", .account, "/api/v1/auth/totp/enable", "{}"),
        Row(.post, "/api/v1/auth/totp/disable", .account, "/api/v1/auth/totp/disable", "{}"),
        Row(.get, "/api/v1/admin/settings/totp-policy", .admin, "/api/v1/admin/settings/totp-policy"),
        Row(.put, "/api/v1/admin/settings/totp-policy", .admin, "/api/v1/admin/settings/totp-policy", #"{"policy":"disabled"}"#),

        Row(.get, "/api/v1/users", .users, "/api/v1/users"),
        Row(.post, "/api/v1/users", .editUsers, "/api/v1/users", #"{"username":"made","email":"m@example.org","password":"a long enough phrase"}"#),
        Row(.get, "/api/v1/users/me", .account, "/api/v1/users/me"),
        Row(.post, "/api/v1/users/me/password", .account, "/api/v1/users/me/password", #"{"new_password":"another long phrase"}"#),
        Row(.get, "/api/v1/users/me/tokens", .account, "/api/v1/users/me/tokens"),
        Row(.post, "/api/v1/users/me/tokens", .mint, "/api/v1/users/me/tokens", mint),
        Row(.delete, "/api/v1/users/me/tokens/{token_id}", .account, "/api/v1/users/me/tokens/{uuid}"),
        Row(.get, "/api/v1/profile/access-tokens", .account, "/api/v1/profile/access-tokens"),
        Row(.post, "/api/v1/profile/access-tokens", .mint, "/api/v1/profile/access-tokens", #"{"name":"ci"}"#),
        Row(.delete, "/api/v1/profile/access-tokens/{token_id}", .account, "/api/v1/profile/access-tokens/{uuid}"),
        // As groups: who may list accounts sees one, to others it is none.
        Row(.get, "/api/v1/users/{id}", .group, "/api/v1/users/{user}"),
        Row(.patch, "/api/v1/users/{id}", .editUsers, "/api/v1/users/{user}", #"{"display_name":"B"}"#),
        Row(.delete, "/api/v1/users/{id}", .editUsers, "/api/v1/users/{victim}", consumes: true),
        Row(.post, "/api/v1/users/{id}/password", .owner, "/api/v1/users/{user}/password", #"{"new_password":"another long phrase"}"#),
        Row(.post, "/api/v1/users/{id}/password/reset", .editUsers, "/api/v1/users/{victim}/password/reset", consumes: true),
        Row(.post, "/api/v1/users/{id}/force-password-change", .editUsers, "/api/v1/users/{victim}/force-password-change", consumes: true),
        Row(.get, "/api/v1/users/{id}/tokens", .group, "/api/v1/users/{user}/tokens"),
        Row(.post, "/api/v1/users/{id}/tokens", .others, "/api/v1/users/{user}/tokens", mint),
        Row(.delete, "/api/v1/users/{id}/tokens/{token_id}", .others, "/api/v1/users/{user}/tokens/{token}", consumes: true),
    ]

    private static let machines = [
        Row(.post, "/api/v1/auth/ticket", .ticket, "/api/v1/auth/ticket", #"{"purpose":"download","resource_path":"/general/a/b"}"#),
        Row(.get, "/api/v1/users/{id}/roles", .users, "/api/v1/users/{user}/roles"),
        Row(.post, "/api/v1/users/{id}/roles", .editUsers, "/api/v1/users/{victim}/roles", #"{"role_id":"reader"}"#, consumes: true),
        Row(.delete, "/api/v1/users/{id}/roles/{role_id}", .editUsers, "/api/v1/users/{user}/roles/developer"),
        Row(.get, "/api/v1/service-accounts", .users, "/api/v1/service-accounts"),
        Row(.post, "/api/v1/service-accounts", .editUsers, "/api/v1/service-accounts", #"{"name":"made"}"#),
        Row(.get, "/api/v1/service-accounts/{id}", .users, "/api/v1/service-accounts/{uuid}", isMissing: true),
        Row(.patch, "/api/v1/service-accounts/{id}", .editUsers, "/api/v1/service-accounts/{uuid}", #"{"display_name":"d"}"#),
        Row(.delete, "/api/v1/service-accounts/{id}", .editUsers, "/api/v1/service-accounts/{uuid}"),
        Row(.get, "/api/v1/service-accounts/{id}/tokens", .users, "/api/v1/service-accounts/{uuid}/tokens", isMissing: true),
        Row(.post, "/api/v1/service-accounts/{id}/tokens", .editUsers, "/api/v1/service-accounts/{uuid}/tokens", mint),
        Row(.delete, "/api/v1/service-accounts/{id}/tokens/{token_id}", .editUsers, "/api/v1/service-accounts/{uuid}/tokens/{uuid}"),
    ]

    private static let project = #"{"key":"made","name":"made"}"#
    private static let member = #"{"principal_type":"user","principal_id":"{user}","actions":["read"]}"#
    private static let projects = [
        Row(.get, "/api/v1/projects", .admin, "/api/v1/projects"),
        Row(.post, "/api/v1/projects", .create, "/api/v1/projects", project),
        Row(.get, "/api/v1/projects/{id}", .admin, "/api/v1/projects/{uuid}", isMissing: true),
        Row(.put, "/api/v1/projects/{id}", .create, "/api/v1/projects/{uuid}", #"{"name":"n"}"#),
        Row(.delete, "/api/v1/projects/{id}", .admin, "/api/v1/projects/{uuid}"),
        Row(.get, "/api/v1/projects/{id}/members", .admin, "/api/v1/projects/{uuid}/members", isMissing: true),
        Row(.post, "/api/v1/projects/{id}/members", .create, "/api/v1/projects/{uuid}/members", member),
        Row(.delete, "/api/v1/projects/{id}/members", .create, "/api/v1/projects/{uuid}/members", member),
    ]

    private static let group = #"{"name":"made"}"#
    private static let members = #"{"user_ids":["{user}"]}"#
    private static let groups = [
        // The list has what the caller may see of it.
        Row(.get, "/api/v1/groups", .account, "/api/v1/groups"),
        Row(.post, "/api/v1/groups", .editUsers, "/api/v1/groups", group),
        Row(.get, "/api/v1/groups/{id}", .group, "/api/v1/groups/{group}"),
        Row(.put, "/api/v1/groups/{id}", .editUsers, "/api/v1/groups/{group}", #"{"name":"circle"}"#),
        Row(.delete, "/api/v1/groups/{id}", .editUsers, "/api/v1/groups/{uuid}"),
        Row(.post, "/api/v1/groups/{id}/members", .editUsers, "/api/v1/groups/{group}/members", members),
        Row(.delete, "/api/v1/groups/{id}/members", .editUsers, "/api/v1/groups/{group}/members", members),
    ]

    private static let grant =
        #"{"principal_type":"user","principal_id":"{user}","target_type":"repository","target_id":"{rid}","actions":["read"]}"#
    private static let permissions = [
        Row(.get, "/api/v1/permissions", .admin, "/api/v1/permissions"),
        Row(.post, "/api/v1/permissions", .admin, "/api/v1/permissions", grant),
        Row(.get, "/api/v1/permissions/{id}", .admin, "/api/v1/permissions/{uuid}", isMissing: true),
        Row(.put, "/api/v1/permissions/{id}", .admin, "/api/v1/permissions/{uuid}", grant),
        Row(.delete, "/api/v1/permissions/{id}", .admin, "/api/v1/permissions/{uuid}"),
    ]

    private static let made = #"{"key":"made","name":"made","format":"generic","repo_type":"local"}"#
    private static let repositories = [
        Row(.get, "/api/v1/repositories", .anyone, "/api/v1/repositories"),
        Row(.post, "/api/v1/repositories", .make, "/api/v1/repositories", made),
        Row(.get, "/api/v1/repositories/{key}", .list, "/api/v1/repositories/{r}"),
        Row(.patch, "/api/v1/repositories/{key}", .manage, "/api/v1/repositories/{r}", #"{"description":"d"}"#),
        Row(.delete, "/api/v1/repositories/{key}", .remove, "/api/v1/repositories/{r}", consumes: true),
        Row(.get, "/api/v1/repositories/{key}/storage", .list, "/api/v1/repositories/{r}/storage"),
        Row(.get, "/api/v1/repositories/{key}/cache-ttl", .list, "/api/v1/repositories/{r}/cache-ttl"),
        Row(.put, "/api/v1/repositories/{key}/cache-ttl", .manage, "/api/v1/repositories/{r}/cache-ttl", #"{"cache_ttl_seconds":60}"#),
        Row(.put, "/api/v1/repositories/{key}/upstream-auth", .manage, "/api/v1/repositories/{r}/upstream-auth", #"{"auth_type":"none"}"#),
        Row(
            .post, "/api/v1/repositories/{key}/cache/invalidate", .manage, "/api/v1/repositories/{r}/cache/invalidate?path=x"),
        Row(.get, "/api/v1/repositories/{key}/routing-rules", .list, "/api/v1/repositories/{r}/routing-rules"),
        Row(.post, "/api/v1/repositories/{key}/routing-rules", .manage, "/api/v1/repositories/{r}/routing-rules", #"{"rules":[]}"#),
        Row(.delete, "/api/v1/repositories/{key}/routing-rules", .manage, "/api/v1/repositories/{r}/routing-rules"),
        Row(.post, "/api/v1/repositories/{key}/test-upstream", .manage, "/api/v1/repositories/{r}/test-upstream"),
        Row(.get, "/api/v1/repositories/{key}/tokens", .purge, "/api/v1/repositories/{r}/tokens"),
        Row(.post, "/api/v1/repositories/{key}/tokens", .purge, "/api/v1/repositories/{r}/tokens", #"{"name":"t","scopes":["write:repositories"]}"#),
        Row(.get, "/api/v1/repositories/{key}/tokens/{token_id}", .purge, "/api/v1/repositories/{r}/tokens/{uuid}", isMissing: true),
        Row(.delete, "/api/v1/repositories/{key}/tokens/{token_id}", .purge, "/api/v1/repositories/{r}/tokens/{uuid}"),
        Row(.get, "/api/v1/repositories/{key}/members", .list, "/api/v1/repositories/{r}/members", account: true, kinds: ["virtual"]),
        Row(.post, "/api/v1/repositories/{key}/members", .manage, "/api/v1/repositories/{r}/members", #"{"member_key":"nothing"}"#),
        Row(.put, "/api/v1/repositories/{key}/members", .manage, "/api/v1/repositories/{r}/members", #"{"members":[]}"#),
        Row(.delete, "/api/v1/repositories/{key}/members/{member_key}", .manage, "/api/v1/repositories/{r}/members/nothing"),
    ]

    private static let form = "multipart/form-data; boundary=x"
    private static let session =
        #"{"repository_key":"{r}","artifact_path":"up/1/f","total_size":5,"checksum_sha256":"\#(String(repeating: "ab", count: 32))"}"#
    private static let content = [
        Row(.get, "/api/v1/repositories/{key}/artifacts", .read, "/api/v1/repositories/{r}/artifacts"),
        Row(.post, "/api/v1/repositories/{key}/artifacts", .write, "/api/v1/repositories/{r}/artifacts", type: form, "--x--\r\n", about: .body),
        Row(
            .post, "/api/v1/repositories/{key}/artifacts/{path+}", .write, "/api/v1/repositories/{r}/artifacts/f/1/f", type: form, "--x--\r\n",
            about: .name),
        Row(.put, "/api/v1/repositories/{key}/artifacts/{path+}", .write, "/api/v1/repositories/{r}/artifacts/put/1/f", "bytes", about: .name),
        Row(.get, "/api/v1/repositories/{key}/artifacts/{path+}", .read, "/api/v1/repositories/{r}/artifacts/app/1/f", about: .name),
        Row(.delete, "/api/v1/repositories/{key}/artifacts/{path+}", .delete, "/api/v1/repositories/{r}/artifacts/put/1/f", about: .name),
        Row(.get, "/api/v1/repositories/{key}/download/{path+}", .read, "/api/v1/repositories/{r}/download/app/1/f", about: .name),
        Row(.post, "/api/v1/uploads", .write, "/api/v1/uploads", session, about: .body),
        Row(.patch, "/api/v1/uploads/{session_id}", .foreign, "/api/v1/uploads/{session}", "bytes"),
        Row(.get, "/api/v1/uploads/{session_id}", .foreign, "/api/v1/uploads/{session}", isMissing: true),
        Row(.put, "/api/v1/uploads/{session_id}/complete", .foreign, "/api/v1/uploads/{session}/complete"),
        Row(.delete, "/api/v1/uploads/{session_id}", .foreign, "/api/v1/uploads/{session}"),
        Row(.get, "/api/v1/packages", .anyone, "/api/v1/packages"),
        Row(.get, "/api/v1/packages/{id}", .package, "/api/v1/packages/{package}", kinds: ["local"]),
        Row(.get, "/api/v1/packages/{id}/versions", .package, "/api/v1/packages/{package}/versions", kinds: ["local"]),
        Row(.get, "/api/v1/signing/keys", .read, "/api/v1/signing/keys?repository_id={rid}", account: true),
        Row(
            .post, "/api/v1/signing/keys/{key_id}/rotate", .purge, "/api/v1/signing/keys/{signer}/rotate", formats: ["debian"], kinds: ["local"]),
        Row(
            .post, "/api/v1/signing/keys/{key_id}/revoke", .purge, "/api/v1/signing/keys/{signer}/revoke", formats: ["debian"], kinds: ["local"]),
        Row(
            .get, "/api/v1/signing/repositories/{repo_id}/public-key", .read, "/api/v1/signing/repositories/{rid}/public-key", account: true,
            formats: ["debian"], kinds: ["local"]),
        Row(.get, "/api/v1/repositories/{key}/trash", .delete, "/api/v1/repositories/{r}/trash", kinds: ["local"]),
        Row(.delete, "/api/v1/repositories/{key}/trash", .erase, "/api/v1/repositories/{r}/trash", kinds: ["local"]),
        Row(.get, "/api/v1/repositories/{key}/trash/{id}", .delete, "/api/v1/repositories/{r}/trash/1", isMissing: true, kinds: ["local"]),
        Row(.post, "/api/v1/repositories/{key}/trash/{id}/restore", .delete, "/api/v1/repositories/{r}/trash/1/restore", "{}"),
        Row(.delete, "/api/v1/repositories/{key}/trash/{id}", .erase, "/api/v1/repositories/{r}/trash/1", kinds: ["local"]),
    ]

    private static let system = [
        Row(.get, "/health[/]", .open, "/health"), Row(.get, "/healthz[/]", .open, "/healthz"), Row(.get, "/ready[/]", .open, "/ready"),
        Row(.get, "/readyz[/]", .open, "/readyz"), Row(.get, "/livez[/]", .open, "/livez"),
        Row(.get, "/api/v1/setup/status", .open, "/api/v1/setup/status"),
        Row(.get, "/api/v1/openapi.json", .open, "/api/v1/openapi.json"),
        Row(.get, "/api/v1/system/config", .anyone, "/api/v1/system/config"),
        Row(.get, "/api/v1/formats", .anyone, "/api/v1/formats"),
        Row(.get, "/api/v1/formats/{format_key}", .anyone, "/api/v1/formats/generic"),
        Row(.get, "/api/v1/admin/stats", .admin, "/api/v1/admin/stats"),
        Row(.get, "/api/v1/admin/metrics", .admin, "/api/v1/admin/metrics"),
        Row(.get, "/metrics[/]", .admin, "/metrics"),
        Row(.post, "/api/v1/admin/storage-gc", .admin, "/api/v1/admin/storage-gc", #"{"dry_run":true}"#),
        Row(.get, "/api/v1/admin/sweep", .admin, "/api/v1/admin/sweep"),
        Row(.get, "/api/v1/admin/sweep/{digest}", .admin, "/api/v1/admin/sweep/{blob}"),
        Row(.get, "/api/v1/admin/scrub", .admin, "/api/v1/admin/scrub"),
        Row(.post, "/api/v1/admin/scrub", .admin, "/api/v1/admin/scrub"),
        Row(.post, "/api/v1/admin/scrub/tier", .admin, "/api/v1/admin/scrub/tier"),
        Row(.get, "/api/v1/admin/audit", .admin, "/api/v1/admin/audit"),
        Row(.get, "/api/v1/admin/audit/head", .admin, "/api/v1/admin/audit/head"),
        Row(.get, "/api/v1/admin/audit/export", .admin, "/api/v1/admin/audit/export"),
        Row(.post, "/api/v1/admin/backup", .admin, "/api/v1/admin/backup"),
        Row(.get, "/api/v1/admin/held", .admin, "/api/v1/admin/held"),
        Row(.get, "/api/v1/admin/held/{node}", .admin, "/api/v1/admin/held/1"),
        Row(.get, "/api/v1/admin/catalog-move", .admin, "/api/v1/admin/catalog-move"),
        Row(.post, "/api/v1/admin/catalog-move", .admin, "/api/v1/admin/catalog-move", #"{"database_url":"host=none"}"#),
        Row(.delete, "/api/v1/admin/catalog-move", .admin, "/api/v1/admin/catalog-move"),
        Row(.get, "/api/v1/admin/rate-limits", .admin, "/api/v1/admin/rate-limits"),
        Row(.get, "/api/v1/admin/rate-limits/exemptions", .admin, "/api/v1/admin/rate-limits/exemptions"),
        Row(.post, "/api/v1/admin/rate-limits/exemptions", .admin, "/api/v1/admin/rate-limits/exemptions", #"{"type":"username","value":"x"}"#),
        Row(.delete, "/api/v1/admin/rate-limits/exemptions/{id}", .admin, "/api/v1/admin/rate-limits/exemptions/none"),
    ]
}
