# shellcheck shell=bash
# Packages made by Debian's own tools, and apts that know nothing of this machine's.

# make_deb NAME VERSION ARCHITECTURE [CONTENT]: prints the file's path.
make_deb() {
    local name=$1 version=$2 architecture=$3 content=${4:-$1 $2} tree
    tree=$scratch/build/$name-$version-$architecture
    rm -rf "$tree"
    mkdir -p "$tree/DEBIAN" "$tree/usr/share/granary"
    echo "$content" >"$tree/usr/share/granary/$name"
    cat >"$tree/DEBIAN/control" <<CONTROL
Package: $name
Version: $version
Architecture: $architecture
Maintainer: Granary Tests <tests@example.org>
Section: misc
Priority: optional
Description: package under test
 With a second line.
 .
 And a third.
CONTROL
    mkdir -p "$scratch/debs"
    dpkg-deb --root-owner-group "${compression:--Zxz}" --build "$tree" "$scratch/debs/${name}_${version#*:}_$architecture.deb" >&2
    echo "$scratch/debs/${name}_${version#*:}_$architecture.deb"
}

# make_apt NAME "SOURCES-LINE"...: an apt of its own, with a root of its own to install into.
make_apt() {
    local dir=$scratch/apt-$1
    shift
    mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/root/var/lib/dpkg/updates" "$dir/root/var/lib/dpkg/info" "$dir/log"
    touch "$dir/root/var/lib/dpkg/status" "$dir/root/var/lib/dpkg/available" "$dir/auth"
    printf '%s\n' "$@" >"$dir/sources.list"
    cat >"$dir/apt.conf" <<CONF
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::netrc "$dir/auth";
Dir::Etc::netrcparts "/dev/null";
Dir::State "$dir/state";
Dir::State::status "$dir/root/var/lib/dpkg/status";
Dir::Cache "$dir/cache";
Dir::Log "$dir/log";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Acquire::Retries "0";
Acquire::http::Proxy "DIRECT";
DPkg::Options { "--root=$dir/root"; "--force-not-root"; "--force-bad-path"; "--log=$dir/log/dpkg.log"; };
CONF
}
# apt NAME ARGUMENTS...: apt-get, which fails on warnings of an update too.
apt() {
    local dir=$scratch/apt-$1
    shift
    APT_CONFIG=$dir/apt.conf apt-get -q -o APT::Update::Error-Mode=any "$@"
}
# What a repository's own apt has installed.
holds() { same "$2 $3" "$(cat "$scratch/apt-$1/root/usr/share/granary/$2")"; }
fetch_key() { curl -sSf "${@:2}" -o "$1"; }
refuses_body() { ! grep -qE -e "$1" "$scratch/body" || { echo "the body says: $1"; return 1; }; }
