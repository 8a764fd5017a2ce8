import Core
import HTTPTypes
import Parsing
import Registry
import TestHouse
import Testing

@Suite("system") struct SystemTests {
    @Test("health routes answer everybody, in the shapes probes read")
    func health() async throws {
        let house = try await House()
        let health = await house.send(.get, "/health", as: .none)
        #expect(
            health.json == [
                "checks": ["database": ["status": "healthy"], "storage": ["status": "healthy"]], "demo_mode": false, "status": "healthy",
                "version": "test",
            ])
        #expect(await house.send(.get, "/healthz/", as: .none).json == health.json)
        let ready = await house.send(.get, "/readyz", as: .none)
        #expect(ready.json["status"] == "ready")
        #expect(ready.json["checks"]?["setup_complete"] == ["status": "true"])
        #expect(await house.send(.get, "/livez", as: .none).text == #"{"status":"ok"}"#)
    }

    @Test("settings and formats are open; totals and metrics are the administrator's")
    func settings() async throws {
        let house = try await House()
        let settings = await house.send(.get, "/api/v1/system/config", as: .none).json
        #expect(settings["max_upload_size_bytes"] == 67_108_864)
        #expect(settings["guest_access_enabled"] == true)
        #expect(settings["auth"]?["local_login_enabled"] == true)
        let formats = await house.send(.get, "/api/v1/formats", as: .none).json
        #expect(formats.array?.compactMap { $0["format_key"]?.string }.sorted() == ["debian", "generic", "httpcache", "maven", "npm", "oci", "pypi"])
        #expect(await house.send(.get, "/api/v1/formats/PyPI", as: .none).json["format_key"] == "pypi")
        #expect(await house.send(.get, "/api/v1/formats/none", as: .none).outcome == "404 NOT_FOUND")
        await house.user("ann")
        for path in ["/api/v1/admin/stats", "/api/v1/admin/metrics", "/metrics"] {
            #expect(await house.send(.get, path, as: .none).status == 401)
            #expect(await house.send(.get, path, as: .user("ann")).status == 403)
            #expect(await house.send(.get, path).status == 200)
        }
    }

    @Test("totals follow the log: repositories, artifacts, bytes, users")
    func totals() async throws {
        let house = try await House()
        await house.repository("files")
        await house.put("hello", at: "a/1/f", in: "files")
        #expect(try await house.followLog { house.counters.current.assets == 1 })
        let stats = await house.send(.get, "/api/v1/admin/stats").json
        #expect(
            stats == [
                "active_peers": 0, "pending_sync_tasks": 0, "proxy_artifact_count": 0, "proxy_storage_bytes": 0, "total_artifacts": 1,
                "total_downloads": 0, "total_repositories": 1, "total_storage_bytes": 5, "total_users": 1,
            ])
    }

    @Test("another method is 405 and says which are served; an unknown path is 404")
    func methods() async throws {
        let house = try await House()
        let answer = await house.send(.put, "/api/v1/repositories")
        #expect(answer.outcome == "405 METHOD_NOT_ALLOWED")
        #expect(answer.field("Allow") == "GET, HEAD, POST")
        #expect(await house.send(.get, "/api/v1/nonesuch").outcome == "404 NOT_FOUND")
        #expect(await house.send(.head, "/api/v1/repositories").status == 200)
    }

    @Test("without guest access, nobody reads public content without credentials")
    func noGuests() async throws {
        var options = House.Options()
        options.guestAccess = false
        let house = try await House(options)
        await house.repository("open", isPublic: true)
        await house.put("x", at: "x", in: "open")
        #expect(await house.send(.get, "/general/open/x", as: .none).status == 401)
        #expect(await house.send(.get, "/api/v1/repositories", as: .none).json["items"] == [])
        #expect(await house.send(.get, "/general/open/x").text == "x")
    }
}
