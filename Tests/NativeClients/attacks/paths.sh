# shellcheck shell=bash
# Paths that climb, in every encoding, with an administrator's credentials: no file is looked at that is not of the data directory.
if needs strace "no path that climbs reaches the file system"; then
    cat >traced <<TRACED
#!/bin/sh
exec strace -D -f -qq --seccomp-bpf -s 4096 -e trace=%file -o "$scratch/trace" "$server" "\$@"
TRACED
    chmod +x traced
    SERVER_BINARY=$scratch/traced start_granary
    for row in files:generic js:npm py:pypi mvn:maven deb:debian images:oci cache:http-cache; do make_repository "${row%:*}" "${row#*:}"; done
    set_up status 201 "${admin[@]}" -T "$here/paths.py" "$url/general/files/folder/file.txt"
    set_up status 200 "${admin[@]}" "$url/general/files/folder/file.txt"
    canary=$(openssl rand -hex 16)
    echo "$canary" >canary
    before=$(wc -l <trace)
    check "4,000 paths that climb are answered, none by a failure of ours" python3 "$here/paths.py" "$port" "$password" "$scratch/canary" "$canary"
    set_up status 200 "${admin[@]}" "$url/general/files/folder/file.txt"
    stop "$granary_pid"
    # What else a running server looks at: its own threads, memory and clock.
    outside() {
        tail -n "+$((before + 1))" trace | grep -o '"[^"]*"' | tr -d '"' | sort -u | grep -E '^/|(^|/)\.\.(/|$)' |
            grep -vE "^($data(/|$)|/proc/(self|thread-self|[0-9]+)/(fd/[0-9]+|stat|comm)$|/sys/fs/cgroup|/proc/meminfo|/etc/localtime|/usr/share/zoneinfo/)"
    }
    nothing_outside() { [[ -z $(outside) ]] || { outside; return 1; }; }
    check "... and the server opened, asked about and changed nothing outside of its data directory" nothing_outside
    check "... while what it did inside of it was seen" grep -qF "$data" <(tail -n "+$((before + 1))" trace)
    check "the file beside the data directory is as it was" same "$canary" "$(cat canary)"
    unset port data server_log
fi
