# shellcheck shell=bash
# Source packages: built by dpkg-buildpackage, uploaded by dput, fetched by apt-get source.

make_source() {
    local name=$1 version=$2 tree=$scratch/sources/$1
    mkdir -p "$tree/debian/source"
    echo "$name $version" >"$tree/content"
    echo '3.0 (native)' >"$tree/debian/source/format"
    printf '%s (%s) stable; urgency=low\n\n  * Under test.\n\n -- Granary Tests <tests@example.org>  Sat, 21 Nov 2026 10:00:00 +0000\n' "$name" "$version" >"$tree/debian/changelog"
    printf 'Source: %s\nSection: misc\nPriority: optional\nMaintainer: Granary Tests <tests@example.org>\nStandards-Version: 4.6.2\n\nPackage: %s\nArchitecture: all\nDescription: package under test\n From its source.\n' "$name" "$name" >"$tree/debian/control"
    cat >"$tree/debian/rules" <<'RULES'
#!/usr/bin/make -f
clean:
build build-arch build-indep:
binary-arch:
binary: binary-indep
binary-indep:
	install -D -m644 content debian/tmp/usr/share/granary/$(shell dpkg-parsechangelog -SSource)
	mkdir -p debian/tmp/DEBIAN
	dpkg-gencontrol -Pdebian/tmp
	dpkg-deb --root-owner-group --build debian/tmp ..
.PHONY: clean build build-arch build-indep binary binary-arch binary-indep
RULES
    chmod +x "$tree/debian/rules"
    (cd "$tree" && dpkg-buildpackage -us -uc -d -rfakeroot 2>&1 || dpkg-buildpackage -us -uc -d 2>&1)
}

if have dpkg-buildpackage && needs dput "source packages by dput"; then
    set_up make_source sourced-granary 1.5
    changes=$(echo "$scratch"/sources/sourced-granary_1.5_*.changes)
    cat >"$scratch/dput.cf" <<CF
[granary]
fqdn = 127.0.0.1:$port
method = http
incoming = /debian/deb/upload/
login = admin
allow_unsigned_uploads = 1
run_dinstall = 0
progress_indicator = 0
CF
    upload() { echo "$1" | PYTHONPATH=$tools/unpacked/usr/lib/python3/dist-packages:$tools/unpacked/usr/share/dput dput -f -U -c "$scratch/dput.cf" granary "$changes"; }
    refused "dput with a wrong password is refused" 'unauthorized' upload wrong
    check "dput uploads a source package with its binary" upload "$password"
    make_apt source "deb [signed-by=$scratch/both.asc] $debian/deb stable main" "deb-src [signed-by=$scratch/both.asc] $debian/deb stable main"
    check "apt reads Sources" apt source update
    check "apt fetches the source package" all cd "$scratch" -- apt source source --download-only sourced-granary -- cmp "$scratch/sourced-granary_1.5.tar.xz" "$scratch/sources/sourced-granary_1.5.tar.xz"
    check "apt installs what was built from it" all apt source install sourced-granary -- holds source sourced-granary 1.5
    check "nothing waits any more" all status 200 "${admin[@]}" "$url/api/v1/repositories/deb/artifacts?path_prefix=upload/" -- json_is "len(d['items'])" 0
    check "Contents name each file" all status 200 --compressed "$debian/deb/dists/stable/main/Contents-amd64" -- body_says 'usr/share/granary/hello-granary +misc/hello-granary'
fi
