# shellcheck shell=bash
# What a fresh Debian 12 with Swift lacks for a build, and the build itself. Sourced after lib.sh.

# The -dev packages are named once, beside the C library they bring: in Package.swift.
system_packages() {
    printf '%s\n' pkg-config g++ libc6-dev git curl wget ca-certificates openssl python3 python3-venv
    sed -n 's/.*library(.* apt: "\([^"]*\)").*/\1/p' "$root/Package.swift"
}

as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "these packages are missing and neither root nor sudo is at hand; as root: apt-get install ${missing[*]}"
    fi
}

ensure_system_packages() {
    have dpkg-query || fail "this is not a Debian system: install what Package.swift names as apt: packages by hand, then use swift build"
    local package
    missing=()
    for package in $(system_packages | sort -u); do
        [[ $(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | head -n 1) == installed ]] || missing+=("$package")
    done
    [[ ${#missing[@]} == 0 ]] && return
    note "installing ${missing[*]}"
    # A fresh machine may be running its own first update: wait for its lock rather than fail.
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}" >&2
}

ensure_swift() {
    have swift || fail "swift is not on the PATH: install Swift 6.3 or later (swift.org/install), then run this again"
    local said version
    said=$(swift --version 2>&1) || fail "swift does not start: $said"
    version=$(sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' <<<"$said" | head -n 1)
    printf '6.3\n%s\n' "$version" | sort -V -C || fail "Swift ${version:-of an unknown version} is too old: 6.3 or later is needed"
}

# ensure_built [tests]: $granary is the server afterwards; with `tests` the test bundle is built too, by the same flags, so nothing is compiled twice.
# SERVER_BINARY names a server that is already built (no GRANARY_ name: those are settings of the server, which refuses ones it does not know).
ensure_built() {
    if [[ -n ${SERVER_BINARY:-} ]]; then
        granary=$SERVER_BINARY
        [[ -x $granary ]] || fail "SERVER_BINARY is $granary, which is no program"
        return
    fi
    ensure_swift
    ensure_system_packages
    local what=(--product granary)
    [[ ${1:-} == tests ]] && what=(--build-tests)
    note "building (the first time takes some minutes)"
    swift build --package-path "$root" "${build_flags[@]}" "${what[@]}" >&2
    granary=$(swift build --package-path "$root" "${build_flags[@]}" --show-bin-path)/granary
    [[ -x $granary ]] || fail "the build left no $granary"
    export SERVER_BINARY=$granary
}
