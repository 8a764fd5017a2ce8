#!/usr/bin/env bash
# apart.sh COUNT FOLDER: run in a network of its own, as its root: nothing here reaches anything else, and nothing else comes here.
set -euo pipefail
count=$1 folder=$2
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
mkdir -p "$folder"
ip link set lo up
# A host of the public Internet, and what is reached from inside only.
for address in 93.184.216.34 10.1.2.3 169.254.169.254; do ip address add "$address/32" dev lo; done
echo "nameserver 127.0.0.1" >"$folder/resolv.conf"
echo "hosts: dns" >"$folder/nsswitch.conf"
mount --bind "$folder/resolv.conf" "$(realpath /etc/resolv.conf)"
mount --bind "$folder/nsswitch.conf" "$(realpath /etc/nsswitch.conf)"

export ADMIN_PASSWORD
ADMIN_PASSWORD=$(openssl rand -hex 16)
"$SERVER_BINARY" serve --data "$folder/data" --listen 127.0.0.1:0 --port-file "$folder/port" \
    --set outbound_allowed_names=mirror,open.internal >"$folder/server.log" 2>&1 &
server=$!
python3 "$here/names.py" "$folder" &
names=$!
trap 'kill "$server" "$names" 2>/dev/null || true; wait' EXIT
for _ in {1..600}; do
    [[ -s $folder/port && -s $folder/ready ]] && break
    kill -0 "$server" && kill -0 "$names"
    sleep 0.1
done
port=$(tr -d '[:space:]' <"$folder/port")
python3 "$here/names.py" "$folder" ask "${port##*:}" "$count" | tee "$folder/result"
