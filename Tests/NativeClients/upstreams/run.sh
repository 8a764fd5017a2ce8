#!/usr/bin/env bash
# Real packages from the upstreams that this machine's own pip and apt use: a few requests, none in a loop. Where those cannot be reached the
# checks are skipped. Their URLs are read from the machine's configuration and lie in no file of ours.
index=$(pip config get global.index-url 2>/dev/null || python3 -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)' 2>/dev/null || true)
authorities=${SSL_CERT_FILE:-$(pip config get global.cert 2>/dev/null || true)}
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$here/../debian/packages.sh"

# The first archive of Debian's own that apt reads, and the key it trusts.
archive='' release='' keyring=/usr/share/keyrings/debian-archive-keyring.gpg
! have apt-get || read -r archive release < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Origin: Debian' 'Component: main' 'Created-By: Packages' 2>/dev/null) || true

# A machine may reach its upstreams through addresses that are nobody's in public.
addresses() { python3 -c 'import socket, sys, urllib.parse as u
print(",".join(sorted({i[4][0] + "/32" for a in sys.argv[1:] if a for i in socket.getaddrinfo(u.urlsplit(a).hostname, 80, socket.AF_INET)})))' "$@" 2>/dev/null; }
settings=(--set "outbound_allowed_cidrs=$(addresses "$index" "$archive")")
[[ ! -s $authorities ]] || settings+=(--set "outbound_ca_file=$authorities")
start_granary "${settings[@]}"
# asked: what has gone out so far.
asked() { curl -sf "${admin[@]}" "$url/metrics" | awk '/^granary_outbound_requests_total/ { sum += $2 } END { print sum }'; }
nothing_more_than() { same "$1" "$(asked)"; }
skips() { skipped=$((skipped + 1)); printf 'skip  %s\n' "$1"; }
pip_install() { python -m pip install --quiet --no-input --retries 0 --target "$1" --index-url "$2" "${@:3}"; }

if [[ -n $index ]] && have twine && curl -sfo /dev/null --max-time 20 "${index%/}/pip/"; then
    make_repository ours pypi '"is_public":true'
    python3 "$here/../pypi/packages.py" wheel dist granary-app 1.0 "the whole" 'requests>=2' >/dev/null
    set_up twine upload --non-interactive --disable-progress-bar --repository-url "$url/pypi/ours/" -u admin -p "$password" dist/*.whl
    make_remote theirs pypi "${index%/simple*}/"
    make_virtual all pypi "ours theirs" '"is_public":true'
    check "pip installs a package of ours whose dependencies, and theirs, come through a virtual (local, remote)" pip_install cold "$url/pypi/all/simple/" granary-app
    check "... all of them" ls -d cold/{granary_app.py,requests,urllib3,idna,certifi,charset_normalizer}
    check "... and they work" all env PYTHONPATH=cold python -P -c 'import requests; print(requests.__file__)' -- grep -q cold/ "$scratch/out"
    before=$(asked)
    check "a second install, with no cache of its own," pip_install warm "$url/pypi/all/simple/" granary-app
    check "... asks the upstream nothing" nothing_more_than "$before"
    check "... and gets the same" diff -r -x '*.pyc' -x RECORD cold warm
else
    skips "pip installs a real package (its index cannot be reached)"
fi

if [[ -n $release && -r $keyring ]] && have gpgv && curl -sfo /dev/null --max-time 20 "${archive%/}/dists/$release/InRelease"; then
    make_remote archive debian "${archive%/}"
    installs() { # NAME: an apt that has never asked for anything; doc-debian needs no other package
        make_apt "$1" "deb [signed-by=$keyring] $url/debian/archive $release main"
        # The machine's own archive may be an old copy.
        echo 'Acquire::Check-Valid-Until "false";' >>"$scratch/apt-$1/apt.conf"
        apt "$1" update && apt "$1" install doc-debian
    }
    check "apt-get installs a real package through a remote, by Debian's own signature" installs cold
    check "... it is there" test -d apt-cold/root/usr/share/doc/doc-debian
    before=$(asked)
    check "another apt installs it" installs warm
    check "... and the upstream is asked nothing" nothing_more_than "$before"
    check "... and it gets the same" diff -r apt-cold/root/usr apt-warm/root/usr
else
    skips "apt installs a real package (its archive cannot be reached)"
fi
conclude
