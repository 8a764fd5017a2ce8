# shellcheck shell=bash
# Resumable sessions over REST: created, fed in pieces, asked how far they came, completed or cancelled.
sessions=$url/api/v1/uploads
head -c 2500000 /dev/urandom >large.bin
split -b 1048576 -d large.bin piece.

create_session() {
    all status 201 "${admin[@]}" -H 'Content-Type: application/json' "$sessions" \
        -d "{\"repository_key\":\"files\",\"artifact_path\":\"$1\",\"total_size\":2500000,\"checksum_sha256\":\"$2\",\"chunk_size\":1048576}"
    session=$(json 'd["session_id"]')
}
# send_piece NUMBER FIRST LAST STATUS
send_piece() { status "$4" "${admin[@]}" -X PATCH -H "Content-Range: bytes $2-$3/2500000" --data-binary "@piece.0$1" "$sessions/$session"; }
# on_session STATUS METHOD [/complete]: what needs the fresh $session is a function, since arguments are expanded before `all` begins.
on_session() { status "$1" "${admin[@]}" -X "$2" "$sessions/$session${3:-}"; }

check "a session is created and told its chunks" all create_session big/one/1.0/large.bin "$(sha256 large.bin)" -- json_is 'd["chunk_count"]' 3 -- json_is 'd["chunk_size"]' 1048576
check "its first chunk is taken" all send_piece 0 0 1048575 200 -- json_is 'd["bytes_received"]' 1048576 -- json_is 'd["chunks_remaining"]' 2
check "it tells how far it came" all status 200 "${admin[@]}" "$sessions/$session" -- json_is 'd["bytes_received"]' 1048576 -- json_is 'd["status"]' in_progress
check "it is not complete yet: 400" status 400 "${admin[@]}" -X PUT "$sessions/$session/complete"
check "a range that contradicts itself is 400" send_piece 1 5 4 400
check "the other chunks follow" all send_piece 1 1048576 2097151 200 -- send_piece 2 2097152 2499999 200
check "it completes" all status 200 "${admin[@]}" -X PUT "$sessions/$session/complete" -- json_is 'd["checksum_sha256"]' "$(sha256 large.bin)"
check "... and the file is there" all status 200 "$download/big/one/1.0/large.bin" -- body_is_file large.bin

check "a session whose bytes are not what was promised fails: 409" all create_session big/two/1.0/large.bin "$(sha256 file.bin)" -- send_piece 0 0 1048575 200 -- \
    send_piece 1 1048576 2097151 200 -- send_piece 2 2097152 2499999 200 -- on_session 409 PUT /complete
check "... and nothing is stored" status 404 "$download/big/two/1.0/large.bin"
check "a session can be cancelled" all create_session big/three/1.0/large.bin "$(sha256 large.bin)" -- on_session 204 DELETE -- on_session 404 GET
check "an unknown session is 404" status 404 "${admin[@]}" "$sessions/00000000-0000-7000-8000-000000000000"
others_session() { status '40[34]' -u "reader:$user_password" "$sessions/$session"; }
check "another user cannot see a session" all create_session big/four/1.0/large.bin "$(sha256 large.bin)" -- others_session
check "a session without a credential is 401" status 401 -H 'Content-Type: application/json' "$sessions" -d '{}'
