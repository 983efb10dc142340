# shellcheck shell=bash
# Sourced after scripts/processes.sh by scripts that have a registry: what its accounts do there. Expects a folder for
# their tokens in $tokens, the registry's address in $registry_url once there is one, and `on_registry COMMAND…`, which
# runs pictor-registry's commands on its database.

: "${tokens:?a folder for tokens}"
# Settings of somebody's own registry or agent are not for these.
for name in "${!PICTOR_@}"; do unset "$name"; done

# cargo_says FILTER: what jq finds in Cargo's own description of this workspace.
cargo_says() { cargo metadata --format-version 1 --no-deps --locked | jq -re "$1"; }

# api ACCOUNT METHOD PATH [CURL ARGUMENT…]. The token goes in by a file descriptor: arguments can be seen by others.
api() {
    local account=$1 method=$2 path=$3
    shift 3
    curl --silent --show-error --fail-with-body --max-time 60 -X "$method" \
        -H @<(printf 'Authorization: Bearer %s\n' "$(<"$tokens/$account.token")") "$@" "$registry_url$path"
}

# account NAME ARGUMENT…: creates it, unless its token is there from an earlier run.
account() {
    [[ ! -s $tokens/$1.token ]] || return 0
    on_registry account create "$@" --json | jq -re .token >"$tokens/$1.token" || fail "could not create the account $1"
}

# worker_is ID STATUS
worker_is() { [[ $(api provider GET "/v1/workers/$1" | jq -r .status) == "$2" ]]; }

# make_scene SCRIPT FILE [ARGUMENT…]
make_scene() {
    attend blender -b --factory-startup --python-exit-code 1 --python "$1" -- "${@:2}" >"$logs/blender.log" 2>&1 ||
        fail "Blender did not make the scene $2" blender
}
