# shellcheck shell=bash
# A right that is limited to names, by a token; and an account with a second factor, whose tokens alone work.
make_repository teams pypi
make_user namer
make_permission namer teams write 'team-*'
make_token namer
package wheel rights team-tool 1.0 "from the team" >/dev/null
package wheel rights other-tool 1.0 "from others" >/dev/null
set_up upload "$url/pypi/teams/" admin "$password" rights/other_tool-1.0-py3-none-any.whl

check "twine uploads a package whose name the right covers" upload "$url/pypi/teams/" __token__ "$user_token" rights/team_tool-1.0-py3-none-any.whl
package wheel stray other-tool 2.0 "from the team, under another name" >/dev/null
refused "... and is told 403 of another name" '403' upload "$url/pypi/teams/" __token__ "$user_token" stray/other_tool-2.0-py3-none-any.whl
named=http://__token__:$user_token@127.0.0.1:$port/pypi/teams/simple/
check "pip installs what the right covers" all pip_install rights-a "$named" team-tool -- imported rights-a team_tool "from the team"
refused "... and is told 403 of another name" '403' pip install -vv --no-input --no-deps --retries 0 --target rights-b --index-url "$named" other-tool
check "... which is there" pip_install rights-c "http://admin:$password@127.0.0.1:$port/pypi/teams/simple/" other-tool
check "uv installs what the right covers" uv_install rights-d "$named" team-tool
refused "... and is told 403 of another name" '403|orbidden' uv_install rights-e "$named" other-tool

make_second_factor namer
refused "with a second factor the password alone gets 401" '401' pip install -vv --no-input --no-deps --retries 0 --target rights-f \
    --index-url "http://namer:$user_password@127.0.0.1:$port/pypi/teams/simple/" team-tool
refused "... twine's, too" '401' upload "$url/pypi/teams/" namer "$user_password" rights/team_tool-1.0-py3-none-any.whl
check "... the account's token installs" pip_install rights-g "$named" team-tool
package wheel more-rights team-tool 1.1 "newer" >/dev/null
check "... and uploads" upload "$url/pypi/teams/" __token__ "$user_token" more-rights/team_tool-1.1-py3-none-any.whl
