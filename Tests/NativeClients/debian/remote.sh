# shellcheck shell=bash
# A remote of an archive made by Debian's own tools, signed by gpg, served by nginx.

archive=$scratch/archive
gnupg=$scratch/gnupg
at_exit 'gpgconf --homedir "$gnupg" --kill all 2>/dev/null'

# index_archive: Packages and Release as apt-ftparchive writes them, signed by a key that we know nothing of.
index_archive() (
    cd "$archive" || exit
    mkdir -p dists/stable/main/binary-amd64
    apt-ftparchive packages pool >dists/stable/main/binary-amd64/Packages
    python3 -c 'import lzma, sys; sys.stdout.buffer.write(lzma.compress(sys.stdin.buffer.read()))' <dists/stable/main/binary-amd64/Packages >dists/stable/main/binary-amd64/Packages.xz
    gzip -n -k -f dists/stable/main/binary-amd64/Packages
    apt-ftparchive -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable -o APT::FTPArchive::Release::Components=main \
        -o APT::FTPArchive::Release::Architectures=amd64 -o APT::FTPArchive::Release::Origin=foreign release dists/stable >"$scratch/Release"
    mv "$scratch/Release" dists/stable/Release
    rm -f dists/stable/InRelease
    gpg --homedir "$gnupg" --batch --quiet --clearsign -o dists/stable/InRelease dists/stable/Release
)

start_archive() {
    cat >"$scratch/nginx.conf" <<CONF
daemon off;
$([[ $(id -u) != 0 ]] || echo 'user root;')
pid $scratch/nginx.pid;
error_log $scratch/nginx-error.log;
events {}
http {
    access_log $scratch/nginx.log;
    client_body_temp_path $scratch/nginx-a; proxy_temp_path $scratch/nginx-b; fastcgi_temp_path $scratch/nginx-c;
    uwsgi_temp_path $scratch/nginx-d; scgi_temp_path $scratch/nginx-e;
    server { listen 127.0.0.1:$archive_port; root $archive; }
}
CONF
    start "$scratch/nginx.out" nginx -e "$scratch/nginx-error.log" -c "$scratch/nginx.conf"
    nginx_pid=$started_pid
    wait_for_port "$archive_port"
}
asked_once() { same 1 "$(grep -c "GET $1" "$scratch/nginx.log")"; }

if needs apt-ftparchive "a remote of a foreign archive" && needs nginx "a remote of a foreign archive" && needs gpg "a remote of a foreign archive"; then
    mkdir -p -m 700 "$gnupg"
    mkdir -p "$archive/pool"
    gpg --homedir "$gnupg" --batch --quiet --passphrase '' --quick-gen-key 'foreign archive' rsa3072 sign never 2>/dev/null
    gpg --homedir "$gnupg" --armor --export >"$scratch/foreign.asc"
    for name in first second damaged later; do cp "$(make_deb "foreign-$name" 1.0 amd64)" "$archive/pool/"; done
    set_up index_archive
    archive_port=$(free_port)
    start_archive
    make_remote mirror debian "http://127.0.0.1:$archive_port"
    # As long as it was: what tells is the digest.
    printf 'damaged!' | dd of="$archive/pool/foreign-damaged_1.0_amd64.deb" bs=1 seek=700 conv=notrunc status=none

    make_apt mirror "deb [signed-by=$scratch/foreign.asc] $debian/mirror stable main"
    check "what the upstream signed is served as it came" all status 200 "$debian/mirror/dists/stable/InRelease" -- body_is_file "$archive/dists/stable/InRelease"
    check "apt trusts the upstream's own key through the remote" apt mirror update
    check "apt installs through the remote" all apt mirror install foreign-first -- holds mirror foreign-first 1.0
    rm -f "$scratch"/apt-mirror/cache/archives/*.deb
    check "a second time the file comes from us" all apt mirror install --reinstall foreign-first -- asked_once /pool/foreign-first
    refused "a damaged package is refused" '502|Hash Sum mismatch|connection|Undetermined' apt mirror install foreign-damaged
    check "the log says why" grep -q 'not those its index promised\|its index says' "$server_log"
    check "and nothing of it was kept" status 404 "${admin[@]}" "$url/api/v1/repositories/mirror/artifacts/pool/foreign-damaged_1.0_amd64.deb"
    cp "$scratch/debs/foreign-damaged_1.0_amd64.deb" "$archive/pool/"
    check "once the upstream has mended it, it installs" apt mirror install foreign-damaged
    check "a file that no index lists is not fetched" status 404 "$debian/mirror/pool/nowhere_1_amd64.deb"
    check "nothing is put into a remote" status 405 "${admin[@]}" -T "$hello" "$debian/mirror/pool/main/h/hello-granary/hello-granary_1.0-1_amd64.deb"
    check "a remote has no key of its own" status 404 "$debian/mirror/gpg-key.asc"

    stop "$nginx_pid"
    make_apt offline "deb [signed-by=$scratch/foreign.asc] $debian/mirror stable main"
    set_up status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' "$url/api/v1/repositories/mirror/cache-ttl" -d '{"cache_ttl_seconds":1}'
    sleep 1.1
    check "with the upstream down, indexes and files at hand are served" all apt offline update -- apt offline install foreign-first
    check "what was never fetched is refused as the upstream's failure" status '50[0-9]' "$debian/mirror/pool/foreign-later_1.0_amd64.deb"
    cp "$(make_deb foreign-new 1.0 amd64)" "$archive/pool/"
    set_up index_archive
    start_archive
    sleep 1.1
    check "when the upstream is back, its new packages are seen" all apt mirror update -- apt mirror install foreign-new
fi
