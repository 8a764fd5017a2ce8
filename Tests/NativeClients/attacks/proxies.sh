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
        python3 "$here/framing.py" "$front" "$server_log" nginx/access.log
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
