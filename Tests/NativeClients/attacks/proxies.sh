# shellcheck shell=bash
# Behind nginx, as a proxy and as a shared cache: no request becomes two, nobody gets what was cached for another.
if needs nginx "behind nginx no request becomes two, and nothing private is cached"; then
    data=$scratch/proxied-data server_log=$scratch/proxied.log
    SERVER_BINARY=$server start_granary
    make_repository open generic '"is_public":true'
    make_repository closed generic
    make_repository py pypi '"is_public":true'
    make_virtual both generic "open closed" '"is_public":true'
    printf 'for everybody' >public.txt
    printf 'for one alone' >private.txt
    set_up status 201 "${admin[@]}" -T public.txt "$url/general/open/a/public.txt"
    set_up status 201 "${admin[@]}" -T private.txt "$url/general/closed/a/private.txt"
    front=$(free_port)
    mkdir -p nginx
    cat >nginx/nginx.conf <<CONF
daemon off; master_process off; pid $scratch/nginx/pid; error_log $scratch/nginx/error.log;
events {}
http {
    access_log $scratch/nginx/access.log;
    client_body_temp_path nginx/body; proxy_temp_path nginx/proxy; fastcgi_temp_path nginx; uwsgi_temp_path nginx; scgi_temp_path nginx;
    proxy_cache_path $scratch/nginx/cache keys_zone=all:1m;
    upstream granary { server 127.0.0.1:$port; keepalive 8; }
    server {
        listen 127.0.0.1:$front; client_max_body_size 0;
        location / {
            proxy_pass http://granary; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$http_host;
            proxy_cache all; proxy_cache_valid any 10m; add_header X-Cache \$upstream_cache_status;
        }
    }
}
CONF
    start nginx/out nginx -p "$scratch" -e "$scratch/nginx/error.log" -c "$scratch/nginx/nginx.conf"
    set_up wait_for_port "$front"
    site=http://127.0.0.1:$front

    check "behind nginx a request with another inside, in any framing, is one request, and each client gets its own answer" \
        python3 "$here/framing.py" "$server_log" nginx/access.log nginx "$front"
    check "what is public comes from the shared cache" all status 200 "$site/general/open/a/public.txt" -- \
        status 200 "$site/general/open/a/public.txt" -- header_is X-Cache HIT -- body_is_file public.txt
    # for_one PATH: read by who may, more than once; then by nobody in particular, who must not get it.
    for_one() {
        local path=$1 text=$2
        for _ in 1 2; do status '200' "${admin[@]}" "$site$path" && body_says "$text" || return 1; done
        status '40[134]' "$site$path" || return 1
        ! grep -q "$text" body
    }
    check "what one may read is not given to another: a file" for_one /general/closed/a/private.txt "for one alone"
    check "... through a public virtual repository" for_one /general/both/a/private.txt "for one alone"
    check "... over REST" for_one /api/v1/repositories/closed/artifacts/a/private.txt "private.txt"
    check "... a list" for_one /api/v1/repositories/closed/artifacts "private.txt"
    check "... who one is" for_one /api/v1/auth/me '"username":"admin"'
    # Paths that look like something every cache keeps.
    deceived() {
        local end
        for end in /x.css '%2fx.css' ';x.css' '.css' '%00.css' '%23.css' '%3f.css'; do
            http "${admin[@]}" "$site$1$end" >/dev/null
            ! grep -qE "$2" body || { echo "$1$end is answered as $1"; return 1; }
        done
    }
    check "a path with an end that caches like is another path" all deceived /api/v1/auth/me '"username":"admin"' -- \
        deceived /general/closed/a/private.txt 'for one alone'
    accepts() { status 200 -H "Accept: $1" "$site/pypi/py/simple/" && header_matches Content-Type "$2"; }
    html() { accepts text/html '^text/html'; }
    check "a page that has two forms is kept in both" all html -- accepts application/vnd.pypi.simple.v1+json 'json' -- html
    stop "$granary_pid"
    unset port data server_log
fi

# Behind haproxy, which speaks HTTP/1 and HTTP/2 on both sides, and with the option that makes it pass on what it would refuse.
if needs haproxy "behind haproxy no request becomes two"; then
    data=$scratch/haproxied-data server_log=$scratch/haproxied.log
    make_certificate certificate
    printf 'for everybody' >public.txt
    # Of two servers on the same terms: one in clear text, one that haproxy speaks HTTP/2 to.
    serve_open() {
        SERVER_BINARY=$server start_granary "$@"
        make_repository open generic '"is_public":true'
        set_up status 201 "${admin[@]}" -T public.txt "$url/general/open/a/public.txt"
    }
    serve_open
    plain=$port plain_log=$server_log plain_pid=$granary_pid
    unset port
    data=$scratch/haproxied-tls-data server_log=$scratch/haproxied-tls.log
    # Set up in clear text, then started again with a certificate, at the same port.
    serve_open
    stop "$granary_pid"
    ADMIN_PASSWORD=$password start "$server_log" "$server" serve --data "$data" --listen "127.0.0.1:$port" \
        --set tls_certificate="$scratch/certificate/server.pem" --set tls_key="$scratch/certificate/server.key"
    granary_pid=$started_pid
    set_up wait_until 60 curl -sf --cacert certificate/ca.pem "https://localhost:$port/readyz"
    mkdir -p haproxy
    declare -A fronts=()
    for each in strict lenient over-h2 h2 h2-over-h2; do fronts[$each]=$(free_port); done
    cat >haproxy/haproxy.cfg <<CONF
global
    nbthread 1
    log stdout format raw local0
defaults
    mode http
    log global
    # What it took for a request; the path is captured, since that of HTTP/2 is logged as a URL.
    log-format "%ft %HM %[capture.req.hdr(0)] %HV"
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    # Whoever comes next gets the connection that the one before left.
    http-reuse always
    retries 3
    retry-on conn-failure empty-response
$(front() { printf 'frontend %s\n    bind 127.0.0.1:%s %s\n    http-request capture path len 200\n    %s\n    default_backend %s\n' "$@"; }
    front strict "${fronts[strict]}" '' '' clear
    front lenient "${fronts[lenient]}" '' 'option accept-invalid-http-request' clear
    front over-h2 "${fronts[over-h2]}" '' 'option accept-invalid-http-request' tls
    front h2 "${fronts[h2]}" 'proto h2' 'option accept-invalid-http-request' clear
    front h2-over-h2 "${fronts[h2-over-h2]}" 'proto h2' 'option accept-invalid-http-request' tls)
backend clear
    server granary 127.0.0.1:$plain
backend tls
    server granary 127.0.0.1:$port ssl verify required ca-file $scratch/certificate/ca.pem verifyhost localhost alpn h2
CONF
    start haproxy/log haproxy -db -f haproxy/haproxy.cfg
    for each in "${!fronts[@]}"; do set_up wait_for_port "${fronts[$each]}"; done
    framed() { python3 "$here/framing.py" "$1" haproxy/log "$2" "${fronts[$3]}" "${@:4}"; }
    check "behind haproxy a request with another inside, in any framing, is one request, and each client gets its own answer" \
        framed "$plain_log" strict strict
    check "... where it is told to pass on what is malformed" framed "$plain_log" lenient lenient
    check "... where it speaks HTTP/2 to the server" framed "$server_log" over-h2 over-h2
    check "... where it is spoken to in HTTP/2" framed "$plain_log" h2 lenient "${fronts[h2]}"
    check "... where all speak HTTP/2" framed "$server_log" h2-over-h2 over-h2 "${fronts[h2-over-h2]}"
    stop "$granary_pid"
    stop "$plain_pid"
    unset port data server_log
fi
