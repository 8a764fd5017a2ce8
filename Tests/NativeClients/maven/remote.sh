# shellcheck shell=bash
# Remotes: of Debian's Maven repository and of a tree with checksums, both served by nginx; of another Granary.
far=www/far/org/example/far
mkdir -p "$far/1.0" "$far/1.1" "$far/2.0-SNAPSHOT" nginx
# publish FOLDER NAME TEXT: a jar and a POM with their checksums, as publishing tools leave them.
publish() {
    local version=${1##*/}
    printf '%s' "$3" >"$1/$2.jar"
    pom org.example far "$version" >"$1/$2.pom"
    for file in "$1/$2".{jar,pom}; do sha1sum "$file" | cut -d ' ' -f 1 | tr -d '\n' >"$file.sha1"; done
}
publish "$far/1.0" far-1.0 "from afar"
publish "$far/2.0-SNAPSHOT" far-2.0-SNAPSHOT "a snapshot from afar"
list_far() { # VERSION...
    { printf '<metadata><groupId>org.example</groupId><artifactId>far</artifactId><versioning><release>%s</release><versions>' "${*: -1}"
      printf '<version>%s</version>' "$@"
      printf '</versions><lastUpdated>20240101000000</lastUpdated></versioning></metadata>'; } >"$far/maven-metadata.xml"
}
list_far 1.0
# A liar's checksums are of other bytes than it sends.
mkdir -p www/liar/org/example && cp -r "$far" www/liar/org/example/far
printf 'something else' >www/liar/org/example/far/1.0/far-1.0.jar

far_port=$(free_port)
start_far() {
    cat >nginx/nginx.conf <<CONF
daemon off; master_process off; pid $scratch/nginx/pid; error_log $scratch/nginx/error.log;
events {}
http {
    access_log $scratch/nginx/access.log;
    client_body_temp_path nginx; proxy_temp_path nginx; fastcgi_temp_path nginx; uwsgi_temp_path nginx; scgi_temp_path nginx;
    server { listen 127.0.0.1:$far_port; root $scratch/www; location /debian/ { alias $MAVEN_REPOSITORY/; } }
}
CONF
    start nginx/out nginx -p "$scratch" -e "$scratch/nginx/error.log" -c "$scratch/nginx/nginx.conf"
    far_pid=$started_pid
    set_up wait_for_port "$far_port"
}
asked() { grep -c "GET $1 " nginx/access.log || true; }

if needs nginx "a remote of nginx over Debian's Maven repository"; then
    start_far
    make_remote debian maven "http://127.0.0.1:$far_port/debian/"
    make_remote far maven "http://127.0.0.1:$far_port/far"
    make_remote liar maven "http://127.0.0.1:$far_port/liar/"
    cat >mirror.xml <<XML
<settings><mirrors><mirror><id>all</id><mirrorOf>*</mirrorOf><url>$url/maven/debian</url></mirror></mirrors></settings>
XML
    through_debian() {
        settings=mirror.xml maven "$1" "$plugins:maven-dependency-plugin:3.5.0:get" -Dartifact=org.apache.maven:maven-model:3.x -Dtransitive=false
    }
    check "mvn gets its plugins and an artifact through a remote of Debian's repository, cold" through_debian rda
    check "... the very bytes" cmp "$MAVEN_REPOSITORY/org/apache/maven/maven-model/3.x/maven-model-3.x.jar" rda/org/apache/maven/maven-model/3.x/maven-model-3.x.jar
    before=$(asked '/debian/org/apache/maven/maven-model/3.x/maven-model-3.x.jar')
    check "... and warm, into another empty local repository" through_debian rdb
    check "... without asking upstream for the file again" same "$before" "$(asked '/debian/org/apache/maven/maven-model/3.x/maven-model-3.x.jar')"
    check "where upstream publishes no checksums, ours are of what came" sum_of sha1 \
        "$MAVEN_REPOSITORY/org/apache/maven/maven-model/3.x/maven-model-3.x.jar" "$url/maven/debian/org/apache/maven/maven-model/3.x/maven-model-3.x.jar"

    remote=$url/maven/far/org/example/far
    check "mvn resolves a release through a remote" all resolve rfa "$url/maven/far" org.example:far:1.0 -- cmp "$far/1.0/far-1.0.jar" rfa/org/example/far/1.0/far-1.0.jar
    check "... whose checksum was read" same 1 "$(asked /far/org/example/far/1.0/far-1.0.jar.sha1)"
    check "... once for the file" same 1 "$(asked /far/org/example/far/1.0/far-1.0.jar)"
    check "mvn finds the release by the metadata" resolve rfb "$url/maven/far" org.example:far:RELEASE
    check "mvn resolves a snapshot through it" all resolve rfc "$url/maven/far" org.example:far:2.0-SNAPSHOT -- \
        cmp "$far/2.0-SNAPSHOT/far-2.0-SNAPSHOT.jar" rfc/org/example/far/2.0-SNAPSHOT/far-2.0-SNAPSHOT.jar
    check "the metadata's checksum is of what we serve" metadata_sum "$remote" sha1
    check "what upstream has not is 404" status 404 "$remote/9/far-9.jar"
    check "a remote takes no upload" put 405 files/lib.jar "$remote/3.0/far-3.0.jar"
    check "the checksum of a file nobody fetched yet is served" sum_of sha256 "$far/2.0-SNAPSHOT/far-2.0-SNAPSHOT.pom" "$remote/2.0-SNAPSHOT/far-2.0-SNAPSHOT.pom"

    lie=org/example/far/1.0/far-1.0.jar
    # The bytes may be on their way already when the checksum turns out wrong: then the connection is cut, which curl reports as a failure.
    breaks_off() { ! curl -sSf -o lies.bin "$url/maven/liar/$lie"; }
    asks_again() {
        local before
        before=$(asked "/liar/$lie")
        breaks_off && (($(asked "/liar/$lie") > before))
    }
    check "a file whose bytes are not what the checksum beside it says is refused" breaks_off
    check "... and not kept: the next asker reaches the upstream again" asks_again
    refused "... nor does mvn take it" 'Could not|checksum|502' resolve rfd "$url/maven/liar" org.example:far:1.0

    check "the time metadata stays fresh can be set" status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' \
        "$url/api/v1/repositories/far/cache-ttl" -d '{"cache_ttl_seconds":1}'
    publish "$far/1.1" far-1.1 "from afar, newer"
    list_far 1.0 1.1
    publish "$far/2.0-SNAPSHOT" far-2.0-SNAPSHOT "another snapshot from afar"
    newer() { status 200 "$remote/maven-metadata.xml" && body_says '<release>1.1</release>'; }
    check "stale metadata is asked for again, and the newer release seen" wait_until 20 newer
    newer_snapshot() { status 200 "$remote/2.0-SNAPSHOT/far-2.0-SNAPSHOT.jar" && body_says '^another'; }
    check "... and a newer snapshot" wait_until 20 newer_snapshot
    check "a release is never asked for again" same 1 "$(asked /far/org/example/far/1.0/far-1.0.jar)"
    check "mvn resolves the newest release" resolve rfe "$url/maven/far" org.example:far:RELEASE
    stop "$far_pid" KILL
    sleep 1.1 # past the time of freshness: what comes now is stale, or nothing
    check "with the upstream dead, what was fetched still resolves, by stale metadata" all resolve rff "$url/maven/far" org.example:far:RELEASE -- \
        cmp "$far/1.1/far-1.1.jar" rff/org/example/far/1.1/far-1.1.jar
    check "... the snapshot too" newer_snapshot
    check "... and what was not is no 404" status '50[234]' "$remote/1.0/far-1.0.war"
    start_far
fi

# Another Granary: timestamped builds, metadata and checksums as it renders them.
make_remote echo maven "$repository/"
check "mvn resolves a snapshot's newest build through a remote of another Granary" all resolve rga "$url/maven/echo" org.example:app:1.0-SNAPSHOT -- \
    says "rga/org/example/app/1.0-SNAPSHOT/app-1.0-SNAPSHOT.jar" "second build"
same_metadata() { same "$(curl -sS "$repository/$1/maven-metadata.xml")" "$(curl -sS "$url/maven/echo/$1/maven-metadata.xml")"; }
for folder in org/example/app org/example org/example/app/1.0-SNAPSHOT; do
    check "... the metadata of $folder is the same there and here" same_metadata "$folder"
done
