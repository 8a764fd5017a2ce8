# shellcheck shell=bash
# A right that is limited to names, by a token.
make_repository teams npm
make_user namer
make_permission namer teams write '@team/*'
make_token namer
teams=$url/npm/teams/
printf 'registry=%s\n//%s:_authToken=%s\n' "$teams" "${teams#*//}" "$user_token" >namer.rc
npmrc teams.rc "$teams" admin "$password"
make_package team-tool @team/tool 1.0.0 "the team"
make_package stray granary-stray 1.0.0 stray

check "npm with a token publishes a package whose name the right covers" publish namer.rc team-tool --access public
refused "... and is told 403 of another name" 'E403' publish namer.rc stray
set_up publish teams.rc stray
check "npm installs what the right covers" all install namer.rc rights-a @team/tool -- says rights-a @team/tool "the team"
refused "... and is told 403 of another name" 'E403' install namer.rc rights-b granary-stray
check "... which is there" install teams.rc rights-c granary-stray
check "npm tags what the right covers" as namer.rc dist-tag add @team/tool@1.0.0 tested
refused "... and nothing else" 'E403' as namer.rc dist-tag add granary-stray@1.0.0 tested
refused "npm search, which is about everything, is 403" '403' as namer.rc search tool
