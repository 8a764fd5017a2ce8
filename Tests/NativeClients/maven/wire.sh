# shellcheck shell=bash
# The wire by curl: what every client of the layout relies on.
put() { status "$1" "${admin[@]}" -X PUT --data-binary "@$2" "$3"; }
say() { status "$1" "${admin[@]}" -X PUT --data-binary "$2" "$3"; }
pom() { printf '<project><modelVersion>4.0.0</modelVersion><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></project>' "$@"; }

# sum_of KIND FILE URL: the checksum beside the URL is the file's.
sum_of() { status 200 "$3.$1" && same "$("${1}sum" "$2" | cut -d ' ' -f 1)" "$(body)"; }
metadata_sum() { status 200 "$1/maven-metadata.xml" && cp body metadata.xml && sum_of "$2" metadata.xml "$1/maven-metadata.xml"; }

wire=$repository/org/example/wire
check "a file is put: 201 Created" all put 201 files/lib.jar "$wire/1.0/wire-1.0.jar" -- body_says '^Created$'
check "... and comes back" all status 200 "$wire/1.0/wire-1.0.jar" -- body_is_file files/lib.jar
check "... with its checksums in fields" all header_is X-Checksum-SHA1 "$(sha1sum files/lib.jar | cut -d ' ' -f 1)" -- \
    header_is X-Checksum-MD5 "$(md5sum files/lib.jar | cut -d ' ' -f 1)" -- header_is X-Checksum-SHA256 "$(sha256 files/lib.jar)"
for kind in md5 sha1 sha256 sha512; do
    check "... and in a $kind file nobody put" all sum_of "$kind" files/lib.jar "$wire/1.0/wire-1.0.jar" -- header_matches Content-Type '^text/plain'
done
check "a checksum that is the file's is taken" say 201 "$(sha1sum files/lib.jar | cut -d ' ' -f 1)" "$wire/1.0/wire-1.0.jar.sha1"
check "... another is refused: 400" say 400 "$(sha1sum files/lib11.jar | cut -d ' ' -f 1)" "$wire/1.0/wire-1.0.jar.sha1"
check "the same bytes succeed again" put 201 files/lib.jar "$wire/1.0/wire-1.0.jar"
check "other bytes of a release are 409" put 409 files/lib11.jar "$wire/1.0/wire-1.0.jar"
check "a POM must be of its path: 400" say 400 "$(pom org.example wire 2.0)" "$wire/1.0/wire-1.0.pom"
check "... and no trick of XML" say 400 '<!DOCTYPE a [<!ENTITY b "c">]><project>&b;</project>' "$wire/1.0/wire-1.0.pom"
check "... then it is taken" say 201 "$(pom org.example wire 1.0)" "$wire/1.0/wire-1.0.pom"
check "metadata is there without anybody writing it" all status 200 "$wire/maven-metadata.xml" -- body_says '<release>1.0</release>'
for kind in sha1 sha512; do check "... its $kind is of what is served" metadata_sum "$wire" "$kind"; done
etag() { status 200 "$wire/maven-metadata.xml" && status 304 -H "If-None-Match: $(header ETag)" "$wire/maven-metadata.xml"; }
check "... it is revalidated" etag
check "a plugin's prefix is learned from its group's metadata" all put 201 files/lib.jar "$repository/org/example/demo-maven-plugin/1.0/demo-maven-plugin-1.0.jar" -- \
    say 201 '<metadata><plugins><plugin><name>Demo</name><prefix>demo</prefix><artifactId>demo-maven-plugin</artifactId></plugin></plugins></metadata>' \
    "$repository/org/example/maven-metadata.xml" -- status 200 "$repository/org/example/maven-metadata.xml" -- body_says '<prefix>demo</prefix>'
check "what is not there is 404" status 404 "$wire/9/wire-9.jar"
check "... nor a checksum of it" status 404 "$wire/9/wire-9.jar.sha1"
check "a public repository is read by anyone, and not written" status 401 -X PUT --data x "$wire/2.0/wire-2.0.jar"
check "a closed one asks who it is" all status 401 "$url/maven/closed/a/b/1/b-1.jar" -- header_matches WWW-Authenticate '^Basic'
check "... and is not there for who may not read it" status 404 -u "reader:$user_password" "$url/maven/closed/a/b/1/b-1.jar"
check "REST puts a release where a client would" all status 201 "${admin[@]}" -X PUT --data-binary @files/lib.jar \
    "$url/api/v1/repositories/releases/artifacts/org/example/rest/1.0/rest-1.0.jar" -- \
    sum_of md5 files/lib.jar "$repository/org/example/rest/1.0/rest-1.0.jar"
