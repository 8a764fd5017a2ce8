"""A first look at speed: small GETs and durable PUTs beside nginx and docker-registry, in turns, as ratios."""
import argparse, hashlib, os, statistics, subprocess
from servers import Server, authorization, call, free_port, granary, make_repository, wrk

parser = argparse.ArgumentParser()
for name in ("granary", "scratch", "lua"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--rounds", type=int, default=5)
options = parser.parse_args()
scratch, seconds, connections = options.scratch, 2, 100


def nginx():
    port, home = free_port(), f"{scratch}/nginx"
    os.makedirs(f"{home}/files/put", exist_ok=True)
    os.makedirs(f"{home}/tmp", exist_ok=True)
    open(f"{home}/nginx.conf", "w").write(f"""
worker_processes 2; daemon off; pid {home}/pid; error_log {home}/error.log; user root;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; client_max_body_size 0; default_type application/octet-stream;
  client_body_temp_path {home}/tmp; proxy_temp_path {home}/tmp; fastcgi_temp_path {home}/tmp; uwsgi_temp_path {home}/tmp; scgi_temp_path {home}/tmp;
  server {{ listen 127.0.0.1:{port}; root {home}/files; location /put/ {{ dav_methods PUT; }} }} }}
""")
    return Server("nginx", ["nginx", "-p", home, "-c", f"{home}/nginx.conf", "-e", f"{home}/error.log"], port, f"{home}/log")


def docker_registry():
    port, home = free_port(), f"{scratch}/registry"
    os.makedirs(home, exist_ok=True)
    open(f"{home}/config.yml", "w").write(f"""
version: 0.1
log: {{ level: error, accesslog: {{ disabled: true }} }}
storage: {{ cache: {{ blobdescriptor: inmemory }}, filesystem: {{ rootdirectory: {home}/data }} }}
http: {{ addr: 127.0.0.1:{port} }}
""")
    return Server("docker-registry", ["docker-registry", "serve", f"{home}/config.yml"], port, f"{home}/log", os.environ | {"GOMAXPROCS": "2"})


def rounds(title, unit, cases):
    """Runs the cases in turns; each gives (rate, CPU microseconds per unit). Ratios are medians over paired rounds."""
    results = {name: [] for name in cases}
    for name, run in cases.items():
        run(-1)  # untimed: caches and pages warm
    for round_number in range(options.rounds):
        for name, run in cases.items():
            results[name].append(run(round_number))
    print(f"\n{title} ({options.rounds} rounds in turns, {connections} connections)")
    print(f"  {'server':<18}{'rate':>12}{'CPU us/' + unit:>14}{'granary / it':>16}{'CPU granary / it':>20}")
    for name, values in results.items():
        rate, cpu = statistics.median(v[0] for v in values), statistics.median(v[1] for v in values)
        paired = statistics.median(g[0] / v[0] for g, v in zip(results["granary"], values))
        paired_cpu = statistics.median(g[1] / v[1] if v[1] else 0 for g, v in zip(results["granary"], values))
        print(f"  {name:<18}{rate:>10.0f}/s{cpu:>14.1f}{paired:>15.2f}x{paired_cpu:>19.2f}x")


def fetch(server, path):
    def run(_):
        result = wrk(server, seconds, connections, f"http://127.0.0.1:{server.port}{path}")
        assert result["errors"] == 0, (server.name, result)
        return result["requests"] / result["seconds"], result["cpu"] / result["requests"] * 1e6
    return run


def put(server, prefix):
    def run(number):
        result = wrk(server, seconds, connections, f"http://127.0.0.1:{server.port}", script=f"{options.lua}/put.lua",
                     script_args=(prefix, "65536", f"r{number}-", authorization()))
        assert result["errors"] == 0, (server.name, result)
        return result["requests"] / result["seconds"], result["cpu"] / result["requests"] * 1e6
    return run


def push(server, repository):
    def run(number):
        listing = f"{scratch}/digests"
        with open(listing, "w") as file:
            for index in range(12_000):
                name = f"{server.name[0]}{number}-{index}"
                body = f"{name:<31} ".encode() + b"x" * (65536 - 32)
                file.write(f"{name} sha256:{hashlib.sha256(body).hexdigest()}\n")
        before = server.cpu_seconds()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", f"{options.lua}/oci_push.lua",
                   f"http://127.0.0.1:{server.port}", "--", repository, "65536", listing, authorization()]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        uploaded = int(out.rsplit("uploaded ", 1)[1].split()[0])
        assert uploaded > 0, (server.name, out)
        return uploaded / seconds, (server.cpu_seconds() - before) / uploaded * 1e6
    return run


ours = granary(options.granary, scratch)
web, registry = nginx(), docker_registry()
try:
    make_repository(ours, "files", "generic")
    make_repository(ours, "images", "docker")
    small = os.urandom(1024)
    call(ours, "PUT", "/api/v1/repositories/files/artifacts/small.bin", small, "application/octet-stream")
    open(f"{scratch}/nginx/files/small.bin", "wb").write(small)
    digest = "sha256:" + hashlib.sha256(small).hexdigest()
    for server, repository in ((ours, "images/bench"), (registry, "bench")):
        location = None
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Authorization": authorization(), "Content-Length": "0"})
        answer = connection.getresponse()
        answer.read()
        location = answer.getheader("Location").split(str(server.port), 1)[-1]
        connection.request("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, small, {"Authorization": authorization()})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 201, (server.name, answer.status)
    rounds("GET 1 KiB, a file (nginx: static file; docker-registry: blob)", "req", {
        "granary": fetch(ours, "/general/files/small.bin"), "nginx": fetch(web, "/small.bin"),
        "docker-registry": fetch(registry, f"/v2/bench/blobs/{digest}")})
    rounds("PUT 64 KiB, one request (nginx neither hashes nor syncs)", "req", {
        "granary": put(ours, "/api/v1/repositories/files/artifacts/put/"), "nginx": put(web, "/put/")})
    rounds("push of 64 KiB blobs, POST then PUT, durable", "blob", {
        "granary": push(ours, "images/bench"), "docker-registry": push(registry, "bench")})
finally:
    for server in (ours, web, registry):
        server.stop()
