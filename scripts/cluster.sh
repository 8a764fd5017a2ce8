# shellcheck shell=bash
# Several nodes on this machine, of real parts: PostgreSQL, rclone's S3 server, nginx before the nodes. Sourced after lib.sh and tools.sh.

# ensure_cluster: what it takes, got without hand work.
ensure_cluster() {
    export PATH=$tools/bin:$PATH
    ensure_postgres && ensure_s3_servers && ensure_program nginx
}

# start_postgres: a server in a folder of its own, on a free port; its address is in $database_url, its pid in $started_pid.
start_postgres() {
    local dir port bin=${POSTGRES_PROGRAMS:-} as=() password user
    [[ -n $bin ]] || bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)")
    dir=$(mktemp -d /tmp/granary-pg.XXXXXX)
    at_exit "rm -rf $dir"
    # It refuses to be root.
    if [[ $(id -u) == 0 ]]; then
        user=nobody
        ! getent passwd postgres >/dev/null || user=postgres
        chown "$user" "$dir"
        as=(runuser -u "$user" --)
    fi
    password=$(openssl rand -hex 16)
    (umask 077 && printf '%s\n' "$password" >"$dir/password") && { [[ ${#as[@]} == 0 ]] || chown "$user" "$dir/password"; }
    port=$(free_port)
    (cd / && "${as[@]}" "$bin/initdb" -D "$dir/d" -U granary -A scram-sha-256 --pwfile "$dir/password" -E UTF8 --no-sync --no-instructions &&
        "${as[@]}" "$bin/pg_ctl" -D "$dir/d" -w -l "$dir/log" \
            -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$dir -c max_connections=200 ${POSTGRES_SETTINGS:-}" start) \
        >"$dir/start.log" 2>&1 || { tail -n 20 "$dir/start.log" "$dir/log" >&2; return 1; }
    started_pid=$(head -n 1 "$dir/d/postmaster.pid")
    started+=("$started_pid")
    PGPASSWORD=$password "$bin/createdb" -h 127.0.0.1 -p "$port" -U granary granary || return 1
    database_url=postgresql://granary:$password@127.0.0.1:$port/granary
}

# start_node NUMBER [FLAGS]: node NUMBER of the cluster, on the port that it had before.
start_node() {
    local number=$1 dir=$cluster/node$1
    shift
    mkdir -p "$dir"
    rm -f "$dir/port"
    GRANARY_DATABASE_URL=$database_url S3_BUCKET=granary S3_ENDPOINT=http://127.0.0.1:$s3_port S3_ACCESS_KEY_ID=$s3_key S3_SECRET_ACCESS_KEY=$s3_secret \
        ADMIN_PASSWORD=$password start "${server_log:-$cluster/nodes.log}" "${SERVER_BINARY:-$granary}" serve --data "$dir/data" \
        --listen "127.0.0.1:${node_port[$number]:-0}" --port-file "$dir/port" --base-url "http://127.0.0.1:$port" \
        --set keys_directory="$cluster/keys" --set s3_allow_private=true --set trusted_proxies=127.0.0.0/8 "$@" "${cluster_flags[@]}"
    node_pid[$number]=$started_pid
}

wait_for_node() {
    local number=$1 dir=$cluster/node$1
    wait_until 60 test -s "$dir/port" -o ! -d "/proc/${node_pid[$number]}" || true
    if [[ ! -s $dir/port ]]; then
        tail -n 20 "${server_log:-$cluster/nodes.log}" >&2
        fail "node $number did not come up"
    fi
    node_port[$number]=$(sed 's/.*://' "$dir/port" | tr -d '[:space:]')
    wait_until 30 curl -sf -o /dev/null "http://127.0.0.1:${node_port[$number]}/readyz" || fail "node $number is up but not ready"
}

# balance: nginx before the nodes, one after the other, request by request. What one node did not answer another is asked, where that can be.
balance() {
    local dir=$cluster/nginx number user=''
    mkdir -p "$dir"
    [[ $(id -u) != 0 ]] || user='user root;'
    {
        cat <<CONF
$user
worker_processes 1;
daemon off;
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $dir; proxy_temp_path $dir; fastcgi_temp_path $dir; uwsgi_temp_path $dir; scgi_temp_path $dir;
    client_max_body_size 0;
    upstream nodes {
CONF
        for number in "${!node_port[@]}"; do echo "        server 127.0.0.1:${node_port[$number]} max_fails=0;"; done
        cat <<CONF
        keepalive 64;
    }
    server {
        listen 127.0.0.1:$port;
        location / {
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
            proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto \$scheme;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_connect_timeout 2s;
            proxy_read_timeout 600s;
            proxy_send_timeout 600s;
        }
    }
}
CONF
    } >"$dir/nginx.conf"
    start "$dir/log" nginx -e "$dir/error.log" -p "$dir" -c "$dir/nginx.conf"
    wait_for_port "$port" || { tail "$dir/log" "$dir/error.log" >&2; return 1; }
}

# start_cluster DIR COUNT [FLAGS]: $url is where clients go, $password the administrator's. They end in the order in which they need each other.
start_cluster() {
    local count=$2 number parts
    cluster=$1
    cluster_flags=("${@:3}")
    node_pid=() node_port=()
    : "${password:=$(openssl rand -hex 16)}"
    mkdir -p "$cluster/keys" "$cluster/buckets/granary"
    chmod 700 "$cluster/keys"
    start_postgres || return 1
    s3_port=$(free_port) s3_key=granary-cluster s3_secret=$(openssl rand -hex 20)
    start_rclone "$cluster/buckets" "$s3_port" "$s3_key" "$s3_secret" || return 1
    s3_pid=$started_pid
    port=$(free_port)
    url=http://127.0.0.1:$port
    parts=("${started[@]}")
    # All at once: which of them is first must not matter.
    for ((number = 1; number <= count; number++)); do start_node "$number"; done
    for ((number = 1; number <= count; number++)); do wait_for_node "$number"; done
    balance || return 1
    started=("$started_pid" "${node_pid[@]}" "${parts[@]}")
    wait_until 30 curl -sf -o /dev/null "$url/readyz" || fail "the nodes are up, but not behind $url"
}
